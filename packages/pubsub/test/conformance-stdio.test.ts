import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope } from "@alkdev/pubsub";
import { createParentProcessEventTarget } from "@alkdev/pubsub/event-target-stdio";
import type { Harness } from "@alkdev/pubsub/testing";
import { PassThrough } from "node:stream";
import { expect } from "vitest";
import { Opened, runConformance } from "./fixtures/conformance.ts";
import { Inbox } from "./fixtures/inbox.ts";
import { startChild } from "./fixtures/stdio.ts";

runConformance("a child process", (): Harness => {
  const opened = new Opened();
  const harness: Harness = {
    supports: {
      publishAck: "hop",
      delivery: "at-most-once",
      lossDetection: "disconnect",
      subscribeAck: true,
      overlap: "once",
      patterns: "native",
      echo: false,
      groups: false,
      replay: false,
      maxPayload: 1024 * 1024,
    },
    features: new Set(["target", "serialises", "disconnects", "freezes", "delays", "raw"]),
    async open({ target: options, onError = () => undefined, delay = 0 } = {}) {
      const ends = startChild(delay, { ...options, onError });
      opened.add(() => ends.end());
      const { target, far, child } = ends;
      expect(target.supports).toEqual(harness.supports);
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        far,
        cut: () => void child.kill("SIGKILL"),
        freeze: () => void child.kill("SIGSTOP"),
        thaw: () => void child.kill("SIGCONT"),
      };
    },
    async openRaw({ target: options, onError = () => undefined } = {}) {
      const [stdin, stdout] = [new PassThrough(), new PassThrough()];
      const inbox = new Inbox();
      let text = "";
      stdout.setEncoding("utf8").on("data", (chunk: string) => {
        const lines = (text + chunk).split("\n");
        text = lines.pop() as string;
        for (const line of lines) inbox.push(JSON.parse(line) as EventEnvelope);
      });
      const target = createParentProcessEventTarget({ ...options, onError, stdin, stdout });
      opened.add(() => target.close());
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        send: (frame) => void stdin.write(`${typeof frame === "string" ? frame : JSON.stringify(frame)}\n`),
        receive: (type) => inbox.receive(type),
      };
    },
    end: () => opened.end(),
  };
  return harness;
});
