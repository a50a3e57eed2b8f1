import type { Browser } from "playwright-core";

export function launchBrowser(): Promise<Browser>;

export function importMap(): Promise<{ imports: Record<string, string> }>;

export interface FileServer {
  readonly url: string;
  close(): Promise<void>;
}

export function serveFiles(options?: {
  readonly root?: URL;
  readonly pages?: Readonly<Record<string, string>>;
  readonly read?: (url: URL) => Promise<string | undefined>;
}): Promise<FileServer>;
