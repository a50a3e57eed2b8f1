/** Calls the calculator, on whichever way it was loaded. */
export async function calculate(calculator) {
  console.log(
    `[tools] ${calculator
      .getTools()
      .map(({ name, description }) => `${name}: ${description}`)
      .join("; ")}`,
  );
  console.log("[result] calculator.add ->", await calculator.invoke("add", { a: 2, b: 3 }));
  // Tools are methods too.
  console.log("[result] calculator.divide ->", await calculator.divide({ a: 7, b: 2 }));
  const failed = ({ code, message }) => `${code}: ${message}`;
  console.log("[error] calculator.add ->", await calculator.invoke("add", { a: "2", b: 3 }).catch(failed));
  console.log("[error] calculator.divide ->", await calculator.divide({ a: 7, b: 0 }).catch(failed));
  console.log("[error] calculator.root ->", await calculator.invoke("root", { a: 7 }).catch(failed));
}
