// A live camera: its frames pass through the stack several times a second, not the page's script.

const SHORT_SIDE = 256; // pixels, which the default fit needs
const EVERY_FRAME = 200; // milliseconds between frames, at least

class Camera {
  constructor(parent) {
    this.root = make("div", "rb-camera");
    this.toggle = make("button", "", { type: "button", textContent: "Camera" });
    this.freeze = make("button", "", { type: "button", textContent: "Freeze", hidden: true });
    this.note = make("span", "rb-value");
    this.note.setAttribute("role", "status");
    this.toggle.addEventListener("click", () => (this.running ? this.stop() : this.start()));
    this.freeze.addEventListener("click", () => this.take());
    this.root.append(this.toggle, this.freeze, this.note);
    parent.append(this.root);
    this.video = make("video", "", { muted: true, playsInline: true });
    PARTS.camera = this;
  }

  async start() {
    this.note.textContent = "";
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: true });
    } catch (error) {
      const why = navigator.mediaDevices ? error.message : "the page is not served by https";
      this.note.textContent = `The camera is not available: ${why}.`;
      return;
    }
    this.video.srcObject = this.stream;
    await this.video.play();
    this.show(true);
    while (this.running) {
      const pause = new Promise((resolve) => setTimeout(resolve, EVERY_FRAME));
      await this.frame();
      await pause;
    }
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    if (!this.running) return;
    this.show(false);
    PARTS.stillPair?.();
    PARTS.stillAnswers?.();
    PARTS.stack?.report(false);
  }

  show(running) {
    this.running = running;
    this.toggle.textContent = running ? "Stop" : "Camera";
    this.toggle.setAttribute("aria-pressed", running);
    this.freeze.hidden = !running;
  }

  // The current frame as a PNG; its short side has `side` pixels.
  async picture(side) {
    const { videoWidth: width, videoHeight: height } = this.video;
    const scale = Math.min(1, side / Math.min(width, height));
    const canvas = make("canvas", "", {
      width: Math.round(width * scale),
      height: Math.round(height * scale),
    });
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(this.video, 0, 0, canvas.width, canvas.height);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  async frame() {
    const png = new Uint8Array(await (await this.picture(SHORT_SIDE)).arrayBuffer());
    const data = await PARTS.stack?.fetch("camera", [png]);
    if (!this.running) return;
    if (!data) {
      this.note.textContent = "The server does not respond. Try again.";
      this.stop();
      return;
    }
    if (!data.answers) return; // a newer frame replaced this one
    await PARTS.pair?.update(data);
    PARTS.answers?.(data.answers);
    this.root.dataset.frames = Number(this.root.dataset.frames ?? 0) + 1;
  }

  // One frame at full size becomes the image of the page.
  async take() {
    const reader = new FileReader();
    reader.onload = () => {
      this.show(false);
      this.stop();
      this.set("frozen", { n: Date.now(), png: reader.result.split(",")[1] });
    };
    reader.readAsDataURL(await this.picture(Infinity));
  }
}

export default function ({ parentElement, setStateValue }) {
  parentElement.camera ??= new Camera(parentElement);
  parentElement.camera.set = setStateValue;
  return () => parentElement.camera.stop();
}
