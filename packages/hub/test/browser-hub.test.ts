// In Chromium: a page that is connected to a hub.
import { afterAll, describe } from "vitest";
import { raceTestsIn, runConformanceIn, TestBrowser } from "../../pubsub/test/fixtures/browser.ts";
import { HubsForPages } from "./fixtures/hubs-for-pages.ts";

const MODULE = "packages/hub/test/fixtures/browser/hub-page.ts";
const browser = await TestBrowser.start(MODULE);
const page = await browser.page(MODULE);
const hubs = new HubsForPages();
afterAll(() => hubs.end());
await hubs.serve(page);

await runConformanceIn(page, "a page over a WebSocket to a hub", "WebSocket");
await runConformanceIn(page, "a page with the client that reconnects", "client");

describe("publishing to a page over a WebSocket in the instant after subscribe", () => raceTestsIn(page, "WebSocket"));
