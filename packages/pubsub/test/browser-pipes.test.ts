// In Chromium: between a page and its worker, between pages, and on a BroadcastChannel.
import { describe } from "vitest";
import { raceTestsIn, runConformanceIn, TestBrowser } from "./fixtures/browser.ts";

const MODULE = "packages/pubsub/test/fixtures/browser/pipes.ts";
const browser = await TestBrowser.start(MODULE);
const page = await browser.page(MODULE);
await browser.page(MODULE, page);

await runConformanceIn(page, "a page and its module worker", "worker");
await runConformanceIn(page, "a BroadcastChannel between a page and a worker", "bus to a worker");
await runConformanceIn(page, "a BroadcastChannel between two pages", "bus to a page");

describe("publishing from a module worker in the instant after subscribe", () => raceTestsIn(page, "worker"));
