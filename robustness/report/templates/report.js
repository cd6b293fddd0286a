(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colours = (night, narrow) => {
    const ink = night ? "#e6edf3" : "#1b2733";
    const line = night ? "#2f3b46" : "#d9e1e7";
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
    return {
      layout: {
        font: { color: ink, family: "system-ui, sans-serif", size: narrow ? 11 : 13 },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        hoverlabel: { bgcolor: night ? "#1a232c" : "#ffffff", font: { color: ink } },
        xaxis: axis,
        yaxis: axis,
      },
    };
  };
  // On a narrow screen long names take lines of their own, and the legend a line an entry.
  const wrapped = (text) => {
    const lines = [];
    for (const part of String(text).split("<br>")) {
      lines.push("");
      for (const word of part.split(" ")) {
        const last = lines[lines.length - 1];
        if (last && (last + word).length > 19) lines.push(word);
        else lines[lines.length - 1] = last ? `${last} ${word}` : word;
      }
    }
    return lines;
  };
  const narrowed = (figure) => {
    const layout = structuredClone(figure.layout);
    const names = [...new Set(figure.data.flatMap((trace) => trace.y || []))];
    if (names.length && names.every((name) => typeof name === "string")) {
      const texts = names.map(wrapped);
      Object.assign(layout.yaxis, { tickvals: names, ticktext: texts.map((text) => text.join("<br>")) });
      const tallest = Math.max(...texts.map((text) => text.length));
      layout.height += 15 * names.length * Math.max(0, tallest - 2);
    }
    layout.height += 18 * figure.data.filter((trace) => trace.name).length;
    layout.xaxis = { ...layout.xaxis, nticks: 5 };
    return layout;
  };
  const draw = (night, width) => {
    const narrow = !width && innerWidth < 640;
    for (const [id, figure] of Object.entries(figures)) {
      const base = narrow ? narrowed(figure) : figure.layout;
      const layout = { ...base, template: colours(night, narrow), width, autosize: !width };
      Plotly.react(id, figure.data, layout, { displayModeBar: false, responsive: true });
    }
  };
  // Plotly itself, gzip in base64; the page's policy allows exactly this script.
  const unpacked = async (packed) => {
    const bytes = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
    const unzipped = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(unzipped).text();
  };
  const folded = () => document.querySelectorAll("details:not([open])");
  let opened = [];
  const begin = () => {
    draw(dark.matches);
    dark.addEventListener("change", () => draw(dark.matches));
    matchMedia("(max-width: 639px)").addEventListener("change", () => draw(dark.matches));
    addEventListener("beforeprint", () => {
      opened = [...folded()];
      opened.forEach((one) => { one.open = true; });
      draw(false, 660);
    });
    addEventListener("afterprint", () => {
      opened.forEach((one) => { one.open = false; });
      draw(dark.matches);
    });
  };
  const packed = document.getElementById("plotly");
  if (!packed) return begin();
  unpacked(packed.textContent).then(
    (text) => {
      const script = document.createElement("script");
      script.textContent = text;
      document.head.append(script);
      begin();
    },
    () => { document.getElementById("chartless").hidden = false; },
  );
})();
