export declare const PROGRAMS: Readonly<
  Record<string, { readonly commands: readonly string[]; readonly package: string; readonly for: string }>
>;
export declare function findProgram(name: string): string | undefined;
export declare function findCommand(commands: readonly string[]): string | undefined;
