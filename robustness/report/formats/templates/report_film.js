const films = JSON.parse(document.getElementById("films").textContent);
for (const [id, { film, pictures }] of Object.entries(films)) {
  const bytes = pictures.map((text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)));
  new Film(document.getElementById(id), film, bytes);
}
