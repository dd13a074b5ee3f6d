// The page over /api/rows. What rows and models say is only ever written as text (textContent), never as markup.
"use strict";

const LIMIT = 50, SHOWN_CHARS = 160, NOT_SHOWN_FIRST = new Set([
  "row_index", "response_text", "repair", "finish_reason", "model", "input_tokens", "output_tokens", "thought_tokens",
  "cost_credits", "wasted_cost_usd", "cost_unknown", "reused_from", "started_at", "finished_at", "request_key",
  "price_version", "run_id", "votes", "thoughts", "grounding", "tool_calls", "voted_label", "evidence", "value_in_quote",
  "error_kind",
]);
const FIELDS_FIRST = 8;
const $ = (id) => document.getElementById(id);
let about = null, page = null, asking = 0, judgements = {};

// The view is its address: a link to it is the view.
const view = () => new URLSearchParams(location.search);
function go(change, { replace = false } = {}) {
  const next = view();
  change(next);
  const address = "?" + next.toString();
  if (replace) history.replaceState(null, "", address); else history.pushState(null, "", address);
  show();
}
const afresh = (change) => go((next) => { change(next); next.delete("offset"); next.delete("row"); next.delete("field"); });

function make(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  if (text !== "" && text !== null && text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
const asText = (value) => value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
const pretty = (value) => typeof value === "string" ? value : JSON.stringify(value, null, 2);
const isNumber = (kind) => /^(u?int|float|double|decimal|halffloat)/.test(kind);
const isField = (name) => name === "output" || name.startsWith("output.") || name.startsWith("output[");
const isJudged = (name) => /^field_(correct|agreement)([.[]|$)/.test(name);
const brief = (text) => text.length > SHOWN_CHARS ? text.slice(0, SHOWN_CHARS) + "…" : text;

// A column is named by its path; a name may hold dots itself.
function at(row, name) {
  let value = row, rest = name;
  while (value !== null && typeof value === "object") {
    if (Object.hasOwn(value, rest)) return value[rest];
    const bracket = rest.match(/^\[("(?:[^"\\]|\\.)*")\](.*)$/s);
    if (bracket) { value = value[JSON.parse(bracket[1])]; rest = bracket[2]; if (!rest) return value; continue; }
    const step = Object.keys(value).find((key) => rest.startsWith(key + ".") || rest.startsWith(key + "["));
    if (step === undefined) return undefined;
    value = value[step];
    rest = rest.slice(step.length).replace(/^\./, "");
  }
  return undefined;
}
function cell(name, value) {
  if (value === null || value === undefined) return "";
  if (/cost/.test(name) && /^-?\d/.test(String(value))) return String(Number(Number(value).toPrecision(6)));
  return asText(value);
}

const ask = (path) => answerOf(fetch(path));
const send = (path, body) => answerOf(fetch(path, { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }));

async function answerOf(asked) {
  const answer = await asked;
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.what ? `${told.what}. ${told.hint ?? ""}` : JSON.stringify(told));
  return told;
}

function apiAddress() {
  const asked = new URLSearchParams();
  for (const name of ["search", "filter", "contains", "sort", "offset"]) for (const value of view().getAll(name)) asked.append(name, value);
  asked.set("limit", LIMIT);
  return "/api/rows?" + asked;
}

function chosenColumns() {
  const told = view().getAll("column");
  if (told.length) return told;
  const names = about.outputs[0].columns.map((one) => one.name);
  const fields = names.filter(isField).slice(0, FIELDS_FIRST);
  const judged = names.filter(isJudged).slice(0, FIELDS_FIRST);
  const others = names.filter((name) => !isField(name) && !isJudged(name) && !NOT_SHOWN_FIRST.has(name));
  const at = others.indexOf("status") + 1;
  const chosen = [...others.slice(0, at), ...fields, ...judged, ...others.slice(at)];
  return about.outputs.length === 2 ? ["row_id", "status", ...fields.concat(names.filter((name) => name === "label"))] : chosen;
}

// `quietly` draws the rows anew and leaves the open one, and what is being typed, as they are.
async function show({ quietly = false } = {}) {
  const turn = ++asking;
  const told = view();
  if (!quietly) {
    $("search").value = told.get("search") ?? "";
    drawChips();
    $("where").textContent = "reading …";
  }
  try {
    const found = await ask(apiAddress());
    if (turn !== asking) return;
    page = found;
  } catch (error) {
    if (turn !== asking) return;
    page = { total: 0, rows: [] };
    drawRows();
    $("where").textContent = error.message;
    $("where").className = "bad";
    return;
  }
  $("where").className = "";
  drawRows();
  if (!quietly) drawDetail();
}

// What a run settles is shown as it comes; an output that nobody writes is looked at now and then.
const RUNNING_MS = 2000, RESTING_MS = 15000;
const isRunning = () => about.outputs.some((one) => one.state === "running");
const columnsOf = (told) => JSON.stringify(told.outputs.map((one) => one.columns));
async function follow() {
  if (!document.hidden) try {
    const told = await ask("/api/about"), was = about;
    about = told;
    if (told.outputs.some((one, side) => one.version !== was.outputs[side].version || one.state !== was.outputs[side].state)) {
      drawHead();
      if (columnsOf(told) !== columnsOf(was)) drawForm();
      await show({ quietly: true });
    }
  } catch {
    // The command has ended, or a file changed at this moment: what is shown stands.
  }
  setTimeout(follow, isRunning() ? RUNNING_MS : RESTING_MS);
}

function drawHead() {
  const head = $("head");
  head.replaceChildren();
  const two = about.outputs.length === 2;
  about.outputs.forEach((one, side) => {
    const line = make("p");
    line.append(make("h1", (two ? "AB"[side] + ": " : "") + one.name));
    if (one.sandbox) line.append(make("span", "sandbox: nothing was paid, answers are made up", { class: "badge" }));
    const running = one.state === "running" || one.state === "killed";
    const ended = one.termination && !running ? one.termination.kind.replaceAll("_", " ") : one.state;
    const rows = running ? [`${one.settled.toLocaleString("en")} of ${one.ledger.rows.toLocaleString("en")} rows settled so far`] : Object.entries(one.ledger).filter(([name, count]) => count && name !== "rows").map(([name, count]) => `${count.toLocaleString("en")} ${name.replaceAll("_", " ")}`);
    const cost = one.totals.cost_usd === null ? "cost unknown" : `$${Number(Number(one.totals.cost_usd).toPrecision(5))}`;
    line.append(make("span", "  " + [ended, rows.join(", "), ...(running ? [] : [cost]), one.model, one.path].join(" · "), { class: "soft" }));
    if (one.evidence && !two) {
      const { fields, exact, normalized, none } = one.evidence;
      line.append(make("span", ` · ${fields.toLocaleString("en")} values with quotes: ${exact.toLocaleString("en")} exact, ${normalized.toLocaleString("en")} normalized `, { class: "soft" }));
      if (none) {
        const lacking = make("button", `${none.toLocaleString("en")} without support`, { type: "button", class: "bad", title: "Only rows with such a value" });
        lacking.onclick = () => afresh((next) => next.append("contains", 'evidence:"match":"none"'));
        line.append(lacking);
      }
    }
    head.append(line);
  });
  if (two) {
    const line = make("p", `${about.in_both.toLocaleString("en")} rows in both, ${about.changed.toLocaleString("en")} changed, ${about.only_a.toLocaleString("en")} only in A, ${about.only_b.toLocaleString("en")} only in B. `);
    const pick = (words, filter) => { const made = make("button", words, { type: "button" }); made.onclick = () => afresh((next) => next.append("filter", filter)); line.append(made, " "); };
    pick("Changed only", "changed:true");
    for (const one of about.fields) if (one.changed) pick(`${one.field}: ${one.changed.toLocaleString("en")}`, `changed.${one.field}:true`);
    if (about.only_a) pick("Only in A", "only:a");
    if (about.only_b) pick("Only in B", "only:b");
    head.append(line);
  }
  document.title = about.outputs.map((one) => one.name).join(" and ") + ": rowmill view";
}

function drawForm() {
  const whole = about.outputs.every((one) => one.searches_input);
  $("search").placeholder = whole ? "Search ids, prompts, answers, errors ( / )" : "Search ids, answers, errors ( / ); not prompts, of so many rows";
  const select = $("column"), picked = select.value;
  const names = about.outputs.flatMap((one, side) => one.columns.map((column) => (side ? "b." : "") + column.name));
  if (about.outputs.length === 2) names.push("changed", "only", ...about.fields.map((one) => `changed.${one.field}`));
  select.replaceChildren(...names.map((name) => make("option", name, { value: name })));
  select.value = names.includes(picked) ? picked : names.includes("status") ? "status" : names[0] ?? "";
  const choices = $("choices"), chosen = new Set(chosenColumns());
  choices.replaceChildren();
  for (const { name } of about.outputs[0].columns) {
    const line = make("label"), box = make("input", "", { type: "checkbox" });
    box.checked = chosen.has(name);
    box.onchange = () => {
      if (box.checked) chosen.add(name); else chosen.delete(name);
      go((next) => { next.delete("column"); for (const one of chosen) next.append("column", one); }, { replace: true });
    };
    line.append(box, " " + name);
    choices.append(line);
  }
}

function drawChips() {
  const chips = $("chips");
  chips.replaceChildren();
  const drop = (name, value) => afresh((next) => {
    const left = next.getAll(name).filter((one) => one !== value);
    next.delete(name);
    for (const one of left) next.append(name, one);
  });
  for (const name of ["filter", "contains"]) for (const value of view().getAll(name)) {
    const chip = make("button", `${name === "contains" ? "contains " : ""}${value}  ×`, { class: "chip", type: "button", title: "Take this filter away" });
    chip.onclick = () => drop(name, value);
    chips.append(chip);
  }
}

function drawRows() {
  const [head, body] = [$("rows").tHead, $("rows").tBodies[0]], two = about.outputs.length === 2;
  const kinds = Object.fromEntries(about.outputs[0].columns.map((one) => [one.name, one.kind]));
  const columns = chosenColumns(), sort = view().get("sort") ?? "";
  const line = make("tr");
  for (const name of columns) {
    const mark = sort === name ? " ▲" : sort === "-" + name ? " ▼" : "";
    const heading = make("th", "", { scope: "col", class: isNumber(kinds[name] ?? "") ? "n" : "", "aria-sort": mark ? (mark === " ▲" ? "ascending" : "descending") : "none" });
    const button = make("button", name.replace(/^output\./, "") + mark, { type: "button", title: name });
    button.onclick = () => go((next) => { const was = next.get("sort"); next.delete("offset"); next.delete("row"); if (was === name) next.set("sort", "-" + name); else if (was === "-" + name) next.delete("sort"); else next.set("sort", name); });
    heading.append(button);
    line.append(heading);
  }
  head.replaceChildren(line);
  body.replaceChildren(...page.rows.map((row) => two ? drawPair(row, columns, kinds) : drawRow(row, columns, kinds)));
  const first = Number(view().get("offset") ?? 0);
  $("where").textContent = page.total ? `${(first + 1).toLocaleString("en")} to ${(first + page.rows.length).toLocaleString("en")} of ${page.total.toLocaleString("en")}` : "no rows";
  $("before").disabled = first === 0;
  $("after").disabled = first + page.rows.length >= page.total;
}

function openable(line, row) {
  line.dataset.row = row.row_id;
  if (view().get("row") === row.row_id) line.className = "chosen";
  line.onclick = () => go((next) => { next.set("row", row.row_id); next.delete("field"); });
  return line;
}

function drawRow(row, columns, kinds) {
  const line = make("tr");
  for (const name of columns) {
    const text = name === "error_message" && row.error_kind ? `${row.error_kind}: ${row.error_message ?? ""}` : cell(name, at(row, name));
    const made = make("td", brief(text), { class: isNumber(kinds[name] ?? "") ? "n" : "" });
    if (name === "status") made.className = text === "ok" ? "good" : "bad";
    line.append(made);
  }
  return openable(line, row);
}

function drawPair(row, columns, kinds) {
  const line = make("tr");
  for (const name of columns) {
    const [a, b] = [row.a, row.b].map((one) => one === null ? "–" : cell(name, at(one, name)));
    const made = make("td", brief(a === b ? a : `${a || "∅"} → ${b || "∅"}`), { class: isNumber(kinds[name] ?? "") ? "n" : "" });
    if (name === "row_id") made.textContent = row.row_id + (row.b === null ? " (only A)" : row.a === null ? " (only B)" : "");
    else if (row.changed.includes(name)) made.classList.add("changed");
    line.append(made);
  }
  return openable(line, row);
}

async function drawDetail() {
  const id = view().get("row"), detail = $("detail");
  for (const line of $("rows").tBodies[0].rows) line.classList.toggle("chosen", line.dataset.row === id);
  detail.hidden = id === null;
  checking = null;
  if (id === null) return;
  let told;
  try {
    told = await ask("/api/rows/" + encodeURIComponent(id));
  } catch (error) {
    detail.replaceChildren(make("p", error.message, { class: "bad" }));
    return;
  }
  if (view().get("row") !== id) return;
  const head = make("header"), close = make("button", "Close", { type: "button" });
  close.onclick = () => go((next) => { next.delete("row"); next.delete("field"); });
  head.append(make("h1", id), close);
  detail.replaceChildren(head);
  if (about.outputs.length === 2) drawBoth(detail, told.a, told.b);
  else if (told === null) detail.append(make("p", "No row has this id."));
  else drawSections(detail, told);
  detail.scrollTop = 0;
  if (checking) checking.choose(Math.max(0, checking.entries.findIndex((one) => one.field === view().get("field"))));
}

function section(into, title, ...parts) {
  into.append(make("h2", title), ...parts);
}

function drawSections(into, row) {
  const status = make("p", "", {});
  status.append(make("span", row.status, { class: row.status === "ok" ? "good" : "bad" }));
  if (row.error_kind) status.append(`  ${row.error_kind}: ${row.error_message ?? ""}`);
  into.append(status);
  if (row.label !== undefined) section(into, "Label", make("p", `${asText(row.label)}${row.agreement === null || row.agreement === undefined ? "" : `, ${Math.round(row.agreement * 100)} % of the votes`}`));
  if (about.judges) drawJudging(into, row.row_id);
  if (row.evidence && row.evidence.length) drawEvidence(into, row);
  const prompt = row.prompt_turns.flatMap((turn) => [make("p", turn.role, { class: "role" }), make("pre", turn.text)]);
  if (row.prompt_note) prompt.unshift(make("p", row.prompt_note, { class: "soft" }));
  section(into, "Prompt as sent", ...prompt);
  if (row.output !== null && row.output !== undefined) section(into, "Answer", make("pre", pretty(row.output)));
  if (row.field_correct || row.field_agreement) section(into, "Fields", table(judgedFields(row)));
  if (row.votes && row.votes.length) section(into, "Votes", table(row.votes.map(({ model, label, status, attempts, cost_usd, latency_ms, response_text }) => ({ ...(label === undefined ? {} : { label }), model, status, attempts, cost_usd: cell("cost_usd", cost_usd), latency_ms, response_text }))));
  if (row.thoughts) section(into, "Thoughts", make("pre", row.thoughts));
  if (row.response_text !== null) section(into, row.status === "ok" ? "Raw answer" : "Last raw answer", make("pre", row.response_text));
  const rest = Object.entries(row).filter(([name]) => !["output", "votes", "field_correct", "field_agreement", "thoughts", "response_text", "evidence", "value_in_quote", "sources", "prompt", "prompt_turns", "prompt_note", "row_id"].includes(name));
  section(into, "Columns", columnsTable(rest));
}

// What a person says of a row, written into review.jsonl; the job's next run takes it from there.
function drawJudging(into, id) {
  const { labels, multi } = about.outputs[0], buttons = make("p", "", { id: "judging", role: "group", "aria-label": "Your label" });
  const note = make("p", "", { class: "soft", id: "judged", role: "status" });
  const said = () => judgements[id] ?? [];
  const draw = () => {
    for (const one of buttons.children) one.setAttribute("aria-pressed", said().includes(one.dataset.label));
    const count = Object.keys(judgements).length;
    note.textContent = count ? `${count.toLocaleString("en")} ${count === 1 ? "row" : "rows"} labelled in review.jsonl. Run the job again to take them: it costs nothing.` : "Written into review.jsonl, where the job's next run takes it.";
  };
  labels.forEach((label, at) => {
    const pick = make("button", at < 9 ? `${at + 1} ${label}` : label, { type: "button", "data-label": label });
    pick.onclick = async () => {
      const is = said().includes(label);
      const wanted = multi ? (is ? said().filter((one) => one !== label) : labels.filter((one) => one === label || said().includes(one))) : is ? [] : [label];
      const before = judgements[id];
      try {
        const told = await send("/api/judgements/" + encodeURIComponent(id), { gold: wanted.length ? wanted : null });
        if (told.gold === null) delete judgements[id]; else judgements[id] = told.gold;
        draw();
      } catch (error) {
        if (before === undefined) delete judgements[id]; else judgements[id] = before;
        draw();
        note.textContent = error.message;
      }
    };
    buttons.append(pick);
  });
  draw();
  section(into, "Your label", buttons, note);
}

// Each field with what gold and the votes say of it, the wrong ones and those of least agreement first.
function judgedFields(row) {
  const leaves = (value, path = []) => value !== null && typeof value === "object" ? Object.entries(value).flatMap(([name, part]) => leaves(part, [...path, name])) : [[path, value]];
  const under = (value, path) => path.reduce((inside, name) => inside === null || inside === undefined ? inside : inside[name], value);
  const paths = leaves(row.field_correct ?? row.field_agreement).map(([path]) => path);
  const fields = paths.map((path) => ({ path, right: under(row.field_correct, path), share: under(row.field_agreement, path) }));
  const order = ({ right, share }) => (right === false ? 0 : 2) + (share ?? 1);
  return fields.sort((a, b) => order(a) - order(b)).map(({ path, right, share }) => ({
    field: path.join(".") || "output", value: under(row.output, path),
    ...(row.field_agreement ? { agreement: share === null || share === undefined ? "" : `${Math.round(share * 100)} %` } : {}),
    ...(row.field_correct ? { gold: right === true ? "right" : right === false ? "wrong" : "" } : {}),
  }));
}

// Each value beside its quote, what wants a look first, and beside them the texts: the chosen quote is marked and in view.
const ORDER = { none: 0, normalized: 2, exact: 3 };
const wantsLook = (one, holds) => one.match === "none" || holds === false;
const isDoubtful = (row) => (row.evidence ?? []).some((one, at) => wantsLook(one, row.value_in_quote?.[at]));
let checking = null;

function drawEvidence(into, row) {
  const entries = row.evidence.map((one, at) => ({ ...one, holds: row.value_in_quote?.[at] ?? null, value: pointed(row.output, one.field) }));
  const rank = (one) => one.match !== "none" && one.holds === false ? 1 : ORDER[one.match];
  const sorted = entries.map((one, at) => [rank(one), at, one]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((one) => one[2]);
  const found = make("table"), head = make("tr");
  head.append(...["field", "value", "quote", ""].map((name) => make("th", name, { scope: "col" })));
  found.append(head);
  const lines = sorted.map((one, at) => {
    const line = make("tr"), pick = make("button", one.field || "(the answer)", { type: "button", class: "pick", "data-field": one.field });
    line.onclick = () => checking.choose(at);
    const name = make("td"), quote = make("td");
    name.append(pick);
    quote.append(one.quote === null ? make("span", "no quote", { class: "soft" }) : make("mark", brief(one.quote), { class: one.match }));
    const told = one.match === "none" ? "no support" : one.holds === false ? "says something else" : one.match;
    line.append(name, make("td", brief(asText(one.value))), quote, make("td", told, { class: told === "exact" || told === "normalized" ? "soft" : "bad" }));
    found.append(line);
    return line;
  });
  const fields = make("div", "", { class: "fields", tabindex: "0", role: "region", "aria-label": "Values and their quotes" });
  const texts = make("div", "", { class: "texts", tabindex: "0", role: "region", "aria-label": "The texts" });
  fields.append(found);
  section(into, "Evidence", fields, texts);
  checking = { at: -1, entries: sorted, choose: (at) => {
    checking.at = at;
    lines.forEach((line, other) => { line.classList.toggle("chosen", other === at); if (other === at) line.setAttribute("aria-current", "true"); else line.removeAttribute("aria-current"); });
    lines[at].scrollIntoView({ block: "nearest" });
    drawTexts(texts, row, entries, sorted[at]);
    const told = view();
    told.set("field", sorted[at].field);
    history.replaceState(null, "", "?" + told);
  } };
}

// The texts that have quotes, or all where the chosen value has none: where it stands itself is a help then, no evidence.
function drawTexts(into, row, entries, chosen) {
  const value = chosen.match === "none" && (typeof chosen.value === "string" || typeof chosen.value === "number") ? String(chosen.value) : "";
  const shown = Object.entries(row.sources ?? {}).flatMap(([column, text]) => {
    const here = entries.filter((one) => one.column === column), said = value ? standing(text, value) : [];
    const marked = here.length || chosen.match === "none" ? marks(text, [...here, ...said.map((place) => ({ ...place, quote: value, match: "said", field: chosen.field }))]) : null;
    return marked ? [make("p", column, { class: "role" }), marked] : [];
  });
  if (value && shown.length) shown.unshift(make("p", shown.some((one) => one.querySelector("mark.said")) ? "Not quoted, but the value stands where it is dotted." : "Not quoted, and the value stands nowhere as it is.", { class: "soft" }));
  if (!shown.length && entries.some((one) => one.match !== "none")) shown.push(make("p", row.prompt_note ?? "the source has changed since, so the quotes cannot be shown in it", { class: "soft" }));
  into.replaceChildren(...shown);
  let first = null;
  for (const piece of into.querySelectorAll("pre.source mark")) {
    const is = JSON.parse(piece.dataset.fields).includes(chosen.field);
    piece.classList.toggle("chosen", is);
    if (is && !first) first = piece;
  }
  into.scrollTop = first ? into.scrollTop + first.getBoundingClientRect().top - into.getBoundingClientRect().top - into.clientHeight / 3 : 0;
}

// Whether a number would be cut here: the 2 of 1.234 is no 2.
function isNumberCut(text, at) {
  const before = text.slice(Math.max(0, at - 2), at), behind = text.slice(at, at + 2);
  return /\d$/.test(before) ? /^[.,]?\d/.test(behind) : /\d[.,]$/.test(before) && /^\d/.test(behind);
}

// Where a text stands in another as a whole, in code points; some places are enough.
function standing(text, value) {
  const found = [], size = Array.from(value).length;
  for (let at = text.indexOf(value), units = 0, points = 0; at >= 0 && found.length < 20; at = text.indexOf(value, at + value.length)) {
    points += Array.from(text.slice(units, at)).length;
    units = at;
    if (isNumberCut(text, at) || isNumberCut(text, at + value.length)) continue;
    found.push({ start: points, end: points + size });
  }
  return found;
}

// The next value of the open row, of those that want a look if so asked; beyond its last one in the next row that has one.
async function check(by, doubtful) {
  const fits = (one) => one !== undefined && (!doubtful || wantsLook(one, one.holds));
  if (checking) for (let at = checking.at + by; at >= 0 && at < checking.entries.length; at += by) if (fits(checking.entries[at])) return checking.choose(at);
  let at = page.rows.findIndex((row) => row.row_id === view().get("row"));
  if (at < 0 && by < 0) at = page.rows.length;
  for (;;) {
    for (at += by; at >= 0 && at < page.rows.length; at += by) {
      const row = page.rows[at];
      if (doubtful ? isDoubtful(row) : row.evidence?.length) return openRow(at, by > 0 ? "first" : "last", doubtful);
    }
    const first = Number(view().get("offset") ?? 0) + by * LIMIT;
    if (first < 0 || first >= page.total) { $("where").textContent += ` · no ${by > 0 ? "further" : "earlier"} value${doubtful ? " that wants a look" : ""}`; return; }
    const told = view();
    if (first) told.set("offset", first); else told.delete("offset");
    for (const name of ["row", "field"]) told.delete(name);
    history.replaceState(null, "", "?" + told);
    await show();
    at = by > 0 ? -1 : page.rows.length;
  }
}

async function openRow(at, which, doubtful) {
  const told = view();
  told.set("row", page.rows[at].row_id);
  told.delete("field");
  history.replaceState(null, "", "?" + told);
  $("rows").tBodies[0].rows[at].scrollIntoView({ block: "nearest" });
  await drawDetail();
  if (which !== "last" || !checking) return;
  const all = checking.entries.map((one, place) => place).filter((place) => !doubtful || wantsLook(checking.entries[place], checking.entries[place].holds));
  if (all.length) checking.choose(all.at(-1));
}

// The value that a JSON pointer leads to. Columns hold a map as pairs, what a schema does not name as JSON text.
function pointed(value, pointer) {
  return pointer.split("/").slice(1).reduce((whole, step) => part(whole, step.replaceAll("~1", "/").replaceAll("~0", "~")), value);
}
function part(whole, step) {
  if (typeof whole === "string") try { whole = JSON.parse(whole); } catch { return undefined; }
  if (whole === null || typeof whole !== "object") return undefined;
  const pair = Array.isArray(whole) ? whole.find((one) => one !== null && typeof one === "object" && Object.keys(one).join() === "key,value" && one.key === step) : undefined;
  if (pair) return pair.value;
  if (Object.hasOwn(whole, step)) return whole[step];
  return whole._extra ? part(whole._extra, step) : undefined;
}

// A text with its quotes marked. Offsets count code points; null where a quote is not what stands there.
function marks(text, entries) {
  const points = Array.from(text), cut = (start, end) => points.slice(start, end).join("");
  if (entries.some((one) => cut(one.start, one.end) !== one.quote)) return null;
  const edges = [...new Set([0, points.length, ...entries.flatMap((one) => [one.start, one.end])])].sort((a, b) => a - b);
  const made = make("pre", "", { class: "source" });
  for (let at = 0; at + 1 < edges.length; at++) {
    const [start, end] = [edges[at], edges[at + 1]], here = entries.filter((one) => one.start <= start && end <= one.end);
    if (!here.length) { made.append(cut(start, end)); continue; }
    const matches = new Set(here.map((one) => one.match)), said = matches.delete("said");
    const kind = [!matches.size ? null : matches.has("normalized") ? "normalized" : "exact", said ? "said" : null].filter(Boolean).join(" ");
    const piece = make("mark", cut(start, end), { class: kind, title: here.map((one) => one.field).join(", ") });
    piece.dataset.fields = JSON.stringify(here.map((one) => one.field));
    made.append(piece);
  }
  return made;
}

function columnsTable(pairs) {
  const made = make("table"), known = new Set(about.outputs[0].columns.map((one) => one.name));
  for (const [name, value] of pairs) {
    const line = make("tr"), held = make("td");
    line.append(make("th", name, { scope: "row" }), held);
    if (known.has(name) && (value === null || typeof value !== "object") && asText(value).length < 200) {
      const pick = make("button", value === null ? "–" : asText(value), { class: "pick", type: "button", title: "Only rows like this" });
      pick.onclick = () => afresh((next) => next.append("filter", `${name}:${asText(value)}`));
      held.append(pick);
    } else held.textContent = value === null ? "–" : asText(value);
    made.append(line);
  }
  return made;
}

function table(rows) {
  const made = make("table"), head = make("tr"), names = [...new Set(rows.flatMap(Object.keys))];
  head.append(...names.map((name) => make("th", name, { scope: "col" })));
  made.append(head);
  for (const row of rows) {
    const line = make("tr");
    line.append(...names.map((name) => make("td", asText(row[name]))));
    made.append(line);
  }
  return made;
}

function drawBoth(into, a, b) {
  const fields = make("table"), head = make("tr");
  head.append(make("th", "field"), make("th", "A"), make("th", "B"));
  fields.append(head);
  for (const { field } of about.fields) {
    const [one, other] = [a, b].map((side) => side === null ? "–" : asText(at(side, field)));
    const line = make("tr", "", one === other ? {} : { class: "changed" });
    line.append(make("th", field, { scope: "row" }), make("td", one), make("td", other));
    fields.append(line);
  }
  section(into, "Fields", fields);
  const sides = make("div", "", { class: "sides" });
  for (const [name, side] of [["A", a], ["B", b]]) {
    const column = make("div");
    column.append(make("h2", name));
    if (side === null) column.append(make("p", "This output has no such row."));
    else drawSections(column, side);
    sides.append(column);
  }
  into.append(sides);
}

function turn(by) {
  const first = Number(view().get("offset") ?? 0) + by;
  if (first < 0 || (by > 0 && first >= page.total)) return;
  go((next) => { if (first) next.set("offset", first); else next.delete("offset"); next.delete("row"); });
}

function step(by) {
  const ids = page.rows.map((row) => row.row_id), at = ids.indexOf(view().get("row"));
  const next = at < 0 ? (by > 0 ? 0 : ids.length - 1) : Math.min(ids.length - 1, Math.max(0, at + by));
  if (ids[next] === undefined) return;
  history.replaceState(null, "", "?" + (() => { const told = view(); told.set("row", ids[next]); told.delete("field"); return told; })());
  drawDetail();
  $("rows").tBodies[0].rows[next].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape") {
    if (typing) event.target.blur(); else if (view().get("row") !== null) go((next) => { next.delete("row"); next.delete("field"); });
    $("columns").open = false;
    return;
  }
  if (typing) return;
  const does = { "/": () => $("search").focus(), j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1), n: () => turn(LIMIT), p: () => turn(-LIMIT),
    f: () => check(1, false), F: () => check(-1, false), u: () => check(1, true), U: () => check(-1, true) }[event.key];
  const picked = /^[1-9]$/.test(event.key) ? $("judging")?.children[Number(event.key) - 1] : undefined;
  if (picked) { event.preventDefault(); picked.click(); }
  if (does && !(event.key.startsWith("Arrow") && event.target.closest("#detail"))) { event.preventDefault(); does(); }
});

let waiting = 0;
$("search").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => afresh((next) => { const text = $("search").value; if (text) next.set("search", text); else next.delete("search"); }), 300);
});
$("asked").addEventListener("submit", (event) => {
  event.preventDefault();
  const [column, how, value] = [$("column").value, $("how").value, $("value").value];
  if (event.submitter === null && document.activeElement === $("search")) return;
  const told = `${column}:${how === ">" || how === "<" ? how : ""}${value}`;
  afresh((next) => next.append(how === "contains" ? "contains" : "filter", (how === "not" ? "-" : "") + told));
  $("value").value = "";
});
$("before").addEventListener("click", () => turn(-LIMIT));
$("after").addEventListener("click", () => turn(LIMIT));
addEventListener("popstate", () => show());

(async () => {
  try {
    about = await ask("/api/about");
    if (about.judges) judgements = await ask("/api/judgements");
  } catch (error) {
    $("head").append(make("p", error.message, { class: "bad" }));
    return;
  }
  drawHead();
  drawForm();
  if (about.outputs.length === 1 && about.outputs[0].evidence) document.querySelector(".keys").append(" ", make("kbd", "u"), " ", make("kbd", "U"), " next and previous value that wants a look, ", make("kbd", "f"), " ", make("kbd", "F"), " any value.");
  if (about.judges) document.querySelector(".keys").append(" ", make("kbd", "1"), " to ", make("kbd", "9"), " label the open row.");
  show();
  setTimeout(follow, isRunning() ? RUNNING_MS : RESTING_MS);
})();
