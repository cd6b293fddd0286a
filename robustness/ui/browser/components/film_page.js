// The film player of a page: the choice, the progress of the computation, and the film.
// One request per film; the browser then plays and scrubs without the server.

// The messages of a stream, each preceded by its length.
async function* messages(stream) {
  const reader = stream.getReader();
  let parts = [];
  let held = 0;
  const take = () => {
    const whole = new Uint8Array(held);
    parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
    parts = [whole];
    return whole;
  };
  let size = null;
  for (;;) {
    while (held >= (size ?? 4)) {
      const whole = take();
      const end = size ?? 4;
      if (size === null) size = new DataView(whole.buffer).getUint32(0);
      else {
        yield whole.subarray(0, end);
        size = null;
      }
      parts = [whole.subarray(end)];
      held -= end;
    }
    const { value, done } = await reader.read();
    if (done) return;
    parts.push(value);
    held += value.length;
  }
}

const CHANGED = "The perturbations have changed. Play again.";

class FilmPlace {
  constructor(parent) {
    this.bar = make("div", "rb-film rb-film-bar");
    this.start = make("button", "rb-film-start", { type: "button" });
    this.choice = make("select");
    this.choice.setAttribute("aria-label", "Perturbation of the film");
    this.progress = make("progress", "", { max: 1, value: 0 });
    this.progress.setAttribute("aria-label", "Progress of the film");
    this.cancel = make("button", "", { type: "button", textContent: "Cancel" });
    this.said = make("span", "rb-film-said");
    this.place = make("div");
    this.bar.append(this.start, this.choice, this.progress, this.cancel, this.said);
    parent.append(this.bar, this.place);
    this.start.addEventListener("click", () => this.make());
    this.cancel.addEventListener("click", () => this.work.abort("Cancelled."));
    this.choice.addEventListener("change", () => this.draw());
  }

  update(data) {
    this.data = data;
    const chosen = this.choice.selectedOptions[0]?.textContent;
    this.choice.replaceChildren(
      ...data.films.map(({ key, label }) => make("option", "", { value: key, textContent: label })),
    );
    const same = data.films.findIndex(({ label }) => label === chosen);
    this.choice.selectedIndex = Math.max(0, same);
    if (this.work && !data.films.some(({ key }) => key === this.making)) this.work.abort(CHANGED);
    this.draw();
  }

  draw(text = "") {
    const { films, nothing } = this.data;
    const busy = Boolean(this.work);
    this.start.hidden = busy || !films.length || this.choice.value === this.shown;
    this.start.textContent = films.length === 1 ? `▶ Play ${films[0].label}` : "▶ Play";
    this.choice.hidden = busy || films.length < 2;
    this.progress.hidden = this.cancel.hidden = !busy;
    const old = !films.some(({ key }) => key === this.shown);
    const title = this.film?.data.title;
    this.said.setAttribute("aria-live", busy ? "off" : "polite"); // do not announce every percent
    this.said.textContent = [
      text || (films.length ? "" : nothing),
      title && old ? `The film below is of an earlier setting: ${title}.` : "",
      title && this.start.hidden && !busy && !old ? title : "",
    ].join(" ");
  }

  async make() {
    this.work = new AbortController();
    const making = (this.making = this.choice.value);
    this.progress.value = 0;
    this.draw("Starting …");
    this.cancel.focus({ preventScroll: true });
    let end = "The server did not respond, so there is no film. Try again.";
    try {
      const response = await fetch(new URL(`film/${this.data.ticket}`, location.href), {
        method: "POST",
        body: making,
        signal: this.work.signal,
      });
      if (response.status === 404) end = CHANGED;
      if (!response.ok) throw new Error(response.statusText);
      for await (const bytes of messages(response.body)) {
        const { share, said, error, film, pictures } = unpack(bytes);
        if (film) {
          end = "";
          this.film?.pause();
          this.film = new Film(this.place, film, pictures, { autoplay: true });
          this.shown = making;
        } else if (error) end = error;
        else {
          this.progress.value = share;
          this.draw(said);
        }
      }
    } catch {
      if (this.work.signal.aborted) end = this.work.signal.reason;
    }
    const mine = this.bar.contains(document.activeElement); // otherwise the focus has moved on
    this.work = null;
    this.draw(end);
    if (mine) (end ? this.start : this.film.button).focus({ preventScroll: true });
  }
}

export default function ({ parentElement, data }) {
  parentElement.film ??= new FilmPlace(parentElement);
  parentElement.film.update(data);
  return () => {
    parentElement.film.work?.abort(CHANGED);
    parentElement.film.film?.pause();
  };
}
