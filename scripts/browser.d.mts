import type { Browser, LaunchOptions } from "playwright-core";

export function launchBrowser(options?: LaunchOptions): Promise<Browser>;

export function importMap(): Promise<{ imports: Record<string, string> }>;

export interface FileServer {
  readonly url: string;
  close(): Promise<void>;
}

export function serveFiles(options?: {
  readonly root?: URL;
  readonly only?: readonly string[];
  readonly pages?: Readonly<Record<string, string>>;
  readonly read?: (url: URL) => Promise<string | undefined>;
}): Promise<FileServer>;
