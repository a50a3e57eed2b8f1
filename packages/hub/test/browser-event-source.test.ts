// A real EventSource, in Chromium, of a page from another origin.
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import type { Page } from "playwright-core";
import { afterAll, expect, test } from "vitest";
import { launchBrowser, serveFiles } from "../../../scripts/browser.mjs";
import { openHub, openProxy, until } from "./fixtures/open.ts";
import type { Proxy } from "../../pubsub/test/fixtures/proxy.ts";

const pages = await serveFiles({ pages: { "/page": "<!doctype html><title>page</title>" } });
afterAll(() => pages.close());
const browser = await launchBrowser();
afterAll(() => browser.close());

/** What a page's EventSource has had, in order: payloads, and the names of other events. */
declare global {
  var source: EventSource;
  var story: unknown[];
  var opened: number;
}

interface Opened {
  readonly page: Page;
  readonly pubsub: PubSub;
  readonly proxy: Proxy;
  readonly story: () => Promise<unknown[]>;
}

async function open(query: string, limits: { events?: number; resumeWindow?: number } = {}): Promise<Opened> {
  const server = await openHub({ events: { retry: 10, limits } });
  const proxy = await openProxy(server.port);
  const page = await browser.newPage();
  await page.goto(`${pages.url}/page`);
  await connect(page, `http://127.0.0.1:${proxy.port}/events?${query}`);
  const pubsub = createPubSub({ eventTarget: server.hub.eventTarget });
  return { page, pubsub, proxy, story: () => page.evaluate(() => globalThis.story) };
}

/** Resolves once the page's new EventSource says that it is open. */
function connect(page: Page, url: string): Promise<void> {
  return page.evaluate(
    (url) =>
      new Promise<void>((resolve) => {
        globalThis.source = new EventSource(url);
        globalThis.story = [];
        globalThis.opened = 0;
        source.addEventListener("open", () => {
          globalThis.opened++;
          resolve();
        });
        source.addEventListener("message", ({ data }) =>
          story.push((JSON.parse(data) as { payload: unknown }).payload),
        );
        source.addEventListener("gap", ({ data }) => {
          const { reason, lost } = JSON.parse(data) as { reason: string; lost: unknown };
          story.push(`gap ${reason} ${String(lost)}`);
        });
        source.addEventListener("end", ({ data }) => story.push(`end ${(JSON.parse(data) as { code: string }).code}`));
      }),
    url,
  );
}

test("what is published in the instant after it is open arrives, fifty times", async () => {
  const { page, pubsub, proxy, story } = await open("type=none");
  for (let i = 0; i < 50; i++) {
    await page.evaluate(() => source.close());
    await connect(page, `http://127.0.0.1:${proxy.port}/events?type=round.r${i}`);
    await pubsub.publish(`round.r${i}`, "", i);
    await page.waitForFunction(() => story.length > 0);
    expect(await story()).toEqual([i]);
  }
  await page.close();
});

test("cut again and again, it comes back by itself and has every event once and in order", async () => {
  const { page, pubsub, proxy, story } = await open("type=load.*");
  let published = 0;
  for (let cut = 0; cut < 20; cut++) {
    const { accepted } = proxy;
    const opened = await page.evaluate(() => globalThis.opened);
    for (let i = 0; i < 20; i++) await pubsub.publish("load.event", "x", published++);
    proxy.cut();
    for (let i = 0; i < 20; i++) await pubsub.publish("load.event", "x", published++);
    // Every other time it is cut again before it has an answer.
    if (cut % 2 === 0) await until(() => proxy.accepted > accepted);
    else await page.waitForFunction((before) => globalThis.opened > before, opened);
  }
  await page.waitForFunction((count) => story.length >= count, published);
  expect(await story()).toEqual(Array.from({ length: published }, (_, i) => i));
  expect(await page.evaluate(() => globalThis.opened)).toBeGreaterThanOrEqual(10);
  await page.close();
});

test("away for longer than its events are kept, it is told how many it missed", async () => {
  const { page, pubsub, proxy, story } = await open("type=load.*", { events: 5 });
  await pubsub.publish("load.event", "x", 0);
  await page.waitForFunction(() => story.length === 1);
  proxy.refusing = true;
  proxy.cut();
  for (let i = 1; i < 20; i++) await pubsub.publish("load.event", "x", i);
  proxy.refusing = false;
  await page.waitForFunction(() => story.length >= 7);
  expect(await story()).toEqual([0, "gap trimmed 14", 15, 16, 17, 18, 19]);
  await page.close();
});
