/** What a page can know of the machine and of itself. It runs in the browser. */

/** @returns {import("./readings.mjs").Readings} */
export function pageReadings() {
  let frames = 0;
  let frame = requestAnimationFrame(function count() {
    frames++;
    frame = requestAnimationFrame(count);
  });
  let at = performance.now();
  const heapUsed = () =>
    // Chromium has it, and no other.
    /** @type {{ memory?: { usedJSHeapSize: number } }} */ (/** @type {unknown} */ (performance)).memory
      ?.usedJSHeapSize ?? 0;
  return {
    take() {
      const time = performance.now();
      const framesPerSecond = Number(((frames * 1000) / (time - at)).toFixed(1));
      at = time;
      frames = 0;
      return [
        { type: "host.frames", id: "page", value: { framesPerSecond } },
        { type: "process.figures", id: "page", value: { heapUsed: heapUsed() } },
      ];
    },
    sample: () => ({ frames, heapUsed: heapUsed() }),
    stop: () => cancelAnimationFrame(frame),
  };
}
