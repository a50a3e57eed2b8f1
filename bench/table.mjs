/** A Markdown table. */
export function table(head, alignment, rows) {
  return [head, alignment, ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
