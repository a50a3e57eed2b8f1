/**
 * What the machine and this process are doing, read from the operating system.
 *
 * @typedef {{ type: string, id: string, value: object }} Reading
 * @typedef {{ take: () => Reading[], sample: () => object, stop: () => void }} Readings what a place publishes: `take`
 *   gives the readings of now, `sample` the payload of one event of a burst
 */
import { statfsSync } from "node:fs";
import os from "node:os";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import process from "node:process";

/** @param {number} value @param {number} digits */
const round = (value, digits) => Number(value.toFixed(digits));

/** Reads how busy each core was since the last reading. */
function cpuReader() {
  let before = os.cpus();
  return () => {
    const cpus = os.cpus();
    const readings = cpus.map(({ times, speed }, core) => {
      const old = before[core]?.times ?? times;
      const user = times.user + times.nice - old.user - old.nice;
      const system = times.sys + times.irq - old.sys - old.irq;
      const total = user + system + times.idle - old.idle;
      const percent = (/** @type {number} */ part) => (total > 0 ? round((part / total) * 100, 1) : 0);
      return { core, busy: percent(user + system), user: percent(user), system: percent(system), mhz: speed };
    });
    before = cpus;
    return readings;
  };
}

function memory() {
  const total = os.totalmem();
  const free = os.freemem();
  return { total, free, used: total - free };
}

function load() {
  const [one = 0, five = 0, fifteen = 0] = os.loadavg();
  return { one, five, fifteen, uptime: os.uptime() };
}

/** The file system that we are on. */
function disk() {
  const { bsize, blocks, bavail } = statfsSync(".");
  return { total: blocks * bsize, free: bavail * bsize };
}

const RESOLUTION_MS = 20;

/** Reads the figures of this process, or thread: its memory, its use of the CPU, how late its event loop is. */
function figuresReader() {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  let at = performance.now();
  let cpu = process.cpuUsage();
  let loop = performance.eventLoopUtilization();
  const read = () => {
    const { rss, heapUsed } = process.memoryUsage();
    const time = performance.now();
    const { user, system } = process.cpuUsage(cpu);
    const { utilization } = performance.eventLoopUtilization(loop);
    const late = delay.count > 0 ? delay.percentile(99) / 1e6 - RESOLUTION_MS : 0;
    const figures = {
      pid: process.pid,
      rss,
      heapUsed,
      /** Of the whole process, its threads included; 100 is one core. */
      cpuPercent: round((user + system) / 10 / (time - at), 1),
      loopPercent: round(utilization * 100, 1),
      loopDelayMs: round(Math.max(0, late), 2),
    };
    at = time;
    cpu = process.cpuUsage();
    loop = performance.eventLoopUtilization();
    delay.reset();
    return figures;
  };
  return { read, stop: () => delay.disable() };
}

/** Those of a place in Node: each kind of reading has one place that takes it. @param {string} place @returns {Readings} */
export function nodeReadings(place) {
  const cpu = cpuReader();
  const figures = figuresReader();
  /** @type {Record<string, () => Reading[]>} */
  const kinds = {
    main: () => cpu().map((value) => ({ type: "host.cpu", id: String(value.core), value })),
    worker: () => [{ type: "host.memory", id: place, value: memory() }],
    process: () => [{ type: "host.load", id: place, value: load() }],
    child: () => [{ type: "host.disk", id: place, value: disk() }],
  };
  return {
    take: () => [...(kinds[place]?.() ?? []), { type: "process.figures", id: place, value: figures.read() }],
    sample: () => process.cpuUsage(),
    stop: figures.stop,
  };
}
