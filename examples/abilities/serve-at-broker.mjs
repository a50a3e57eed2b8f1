// Serves an ability at a broker, and says so once its tools can be called.
import process from "node:process";

const { default: client } = await import(new URL(`${process.argv[2]}/index.mjs`, import.meta.url).href);
const served = client.serve("broker");
await Promise.race([client.connect(), served]);
console.log(`${client.name} is at the broker`);
await served;
