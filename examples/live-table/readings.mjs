/** What the machine and this process are doing, read from the operating system. */
import os from "node:os";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import process from "node:process";

/** Milliseconds since 1970 with microseconds behind the point; the same clock in every thread and process. */
export const now = () => performance.timeOrigin + performance.now();

/** @param {number} value @param {number} digits */
const round = (value, digits) => Number(value.toFixed(digits));

/** Reads how busy each core was since the last reading. */
export function cpuReader() {
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

export function memory() {
  const total = os.totalmem();
  const free = os.freemem();
  return { total, free, used: total - free };
}

export function load() {
  const [one = 0, five = 0, fifteen = 0] = os.loadavg();
  return { one, five, fifteen, uptime: os.uptime() };
}

const RESOLUTION_MS = 20;

/** Reads the figures of this process, or thread: its memory, its use of the CPU, how late its event loop is. */
export function figuresReader() {
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
