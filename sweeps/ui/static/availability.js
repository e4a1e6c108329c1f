// Which options can't work on this machine, by the rules of `paretune doctor --json`.

const general = (path) => path.replace(/\[\d+\]/g, "[]");

/** Why an option can't work at a path; null if it can. `valueOf(path)` is the value there, written or by default. */
export function whyNot(rules, path, field, option, valueOf) {
  const place = general(path);
  for (const {setting, values, when, reason} of rules) {
    if (place !== setting && !place.endsWith(`.${setting}`)) continue;
    const meant = values === null ? option !== field.default : values.some((value) => JSON.stringify(value) === JSON.stringify(option));
    const part = path.slice(0, path.lastIndexOf("."));
    if (meant && Object.entries(when).every(([key, value]) => JSON.stringify(valueOf(`${part}.${key}`)) === JSON.stringify(value))) return reason;
  }
  return null;
}
