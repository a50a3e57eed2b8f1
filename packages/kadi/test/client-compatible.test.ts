// Programs that were written for @kadi.build/core, with that name installed as this package: not a word of them is changed.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { firstLine, outcomeOf, startProgram } from "./fixtures/client.ts";
import { openBroker } from "./fixtures/open.ts";

/** A project of its own, in which the old name is this package. */
function project(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), "kadi-program-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "node_modules/@kadi.build"), { recursive: true });
  symlinkSync(fileURLToPath(new URL("..", import.meta.url)), join(folder, "node_modules/@kadi.build/core"));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

/** In the first generation's words: transport, brokers by name, JSON Schema, events that are not awaited. */
const FIRST = (url: string): string => `
import { KadiClient } from '@kadi.build/core';
const ability = new KadiClient({
  name: 'counter', version: '0.0.1', description: 'Counts', role: 'ability', transport: 'broker',
  networks: ['global'], brokers: { remote: '${url}' }, defaultBroker: 'remote'
});
let count = 0;
async function increment(params = {}) {
  count += params.by || 1;
  ability.publishEvent('counter.changed', { count });
  return { count };
}
ability.registerTool('increment', increment, {
  description: 'Counts on',
  inputSchema: { type: 'object', properties: { by: { type: 'number' } } },
  outputSchema: { type: 'object', properties: { count: { type: 'number' } } }
});
ability.connectToBrokers().then(() => console.log('running'));
ability.serve().catch((error) => { console.error(error); process.exit(1); });
export default ability;
`;

/** In the second's: broker addresses with networks, zod, abilities on all three ways. */
const SECOND = (url: string): string => `
import { KadiClient, z } from '@kadi.build/core';
const client = new KadiClient({ name: 'agent', version: '1.0.0', brokers: { default: { url: '${url}', networks: ['global'] } } });
client.on('error', (error) => console.error(error.message));
client.registerTool({
  name: 'shout',
  description: 'Says it aloud',
  input: z.object({ text: z.string().describe('What to say') }),
  output: z.object({ text: z.string() })
}, async ({ text }) => ({ text: text.toUpperCase() }));
await client.connect();
const unsubscribe = await client.subscribeToEvent('#', (data) => console.log('event', JSON.stringify(data)));
console.log(JSON.stringify(await client.callTool('counter', 'increment', { by: 2 })));
const counter = await client.load('counter', 'broker');
console.log(JSON.stringify(await counter.increment({ by: 3 })));
console.log(JSON.stringify(await client.invokeRemote('shout', { text: 'hi' })));
for (const transport of ['native', 'stdio']) {
  const greeter = await client.load('greeter', transport);
  console.log(transport, greeter.getTools().map((tool) => tool.name).join());
  console.log(JSON.stringify(await greeter.invoke('greet', { name: 'you' })));
  await greeter.disconnect();
}
unsubscribe();
await client.disconnect();
`;

const GREETER = `
import { KadiClient, z } from '@kadi.build/core';
const client = new KadiClient({ name: 'greeter', brokers: { default: { url: process.env.KADI_BROKER_URL || 'ws://localhost:8080/kadi' } } });
client.registerTool({ name: 'greet', description: 'Greets', input: z.object({ name: z.string() }) }, async ({ name }) => {
  await client.publishEvent('greeter.greeted', { name });
  return { greeting: 'Hello ' + name };
});
export default client;
if (import.meta.url === 'file://' + process.argv[1]) {
  const mode = process.env.KADI_MODE || process.argv[2] || 'stdio';
  client.serve(mode).catch((error) => { console.error(error); process.exit(1); });
}
`;

test("programs of both generations run unchanged", async () => {
  const { url } = await openBroker();
  const folder = project({
    "counter.js": FIRST(url),
    "agent.js": SECOND(url),
    "abilities/greeter/index.js": GREETER,
    "abilities/greeter/agent.json": JSON.stringify({
      name: "greeter",
      version: "1.0.0",
      kind: "ability",
      entrypoint: "index.js",
      scripts: { start: "node index.js" },
    }),
  });
  const counter = startProgram([join(folder, "counter.js")], { cwd: folder });
  expect(await firstLine(counter)).toBe("running");
  const { printed, code } = await outcomeOf(startProgram([join(folder, "agent.js")], { cwd: folder }));
  expect(printed.trimEnd().split("\n")).toEqual([
    'event {"count":2}',
    '{"count":2}',
    'event {"count":5}',
    '{"count":5}',
    '{"text":"HI"}',
    "native greet",
    'event {"name":"you"}',
    '{"greeting":"Hello you"}',
    "stdio greet",
    'event {"name":"you"}',
    '{"greeting":"Hello you"}',
  ]);
  expect(code).toBe(0);
});
