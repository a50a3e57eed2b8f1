// In Chromium: a SharedWorker with a hub, and two pages of one context that are connected through it.
import { describe } from "vitest";
import { raceTestsIn, runConformanceIn, TestBrowser } from "../../pubsub/test/fixtures/browser.ts";

const MODULE = "packages/hub/test/fixtures/browser/hub-page.ts";
const browser = await TestBrowser.start(MODULE);
const page = await browser.page(MODULE);
await browser.page(MODULE, page);

await runConformanceIn(page, "two pages through a hub in a SharedWorker", "SharedWorker");

describe("publishing from another page in the instant after subscribe", () => raceTestsIn(page, "SharedWorker"));
