// The copy button of a terminal or Python session copies what the reader types, without prompts and output.
// The theme copies the attribute data-copy in place of the text.
const PROMPTS = [/^\$ /, /^(>>>|\.\.\.)( |$)/];

for (const code of document.querySelectorAll(".highlight code")) {
  const lines = code.textContent.split("\n");
  const prompt = PROMPTS.find((pattern) => pattern.test(lines[0]));
  if (!prompt) continue;
  const typed = [];
  let continued = false;
  for (const line of lines) {
    if (continued || prompt.test(line)) {
      typed.push(continued ? line : line.replace(prompt, ""));
      continued = line.endsWith("\\");
    }
  }
  code.dataset.copy = typed.join("\n");
}
