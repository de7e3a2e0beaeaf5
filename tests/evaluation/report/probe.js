// What test_browser.py wants to know of a report: body of an async function of `frames`, windows by name.
const page = frames.desk.document;
const table = page.querySelector("main table");
const body = table.tBodies[0];
const heads = Array.from(table.tHead.rows[0].cells);
const column = (name) => heads.findIndex((cell) => cell.textContent.trim() === name);
const value = (cell) => cell.dataset.value ?? cell.textContent;
const shown = (i) => Array.from(body.rows).filter((row) => !row.hidden).map((row) => value(row.cells[i]));
const press = (i) => {
  heads[i].querySelector("button").click();
  return { order: heads[i].ariaSort, values: shown(i) };
};
const [distance, guide, row] = ["FD-DINOv2", "EMA guide", "row"].map(column);
const found = { before: shown(distance) };
found.distance = [press(distance), press(distance), press(distance)];
found.guide = [press(guide), press(guide)];
found.row = press(row);
found.sorted = heads.filter((head) => head.ariaSort !== "none").length;

const input = page.querySelector("input[type=search]");
const type = (text) => {
  input.value = text;
  input.dispatchEvent(new frames.desk.Event("input"));
  return shown(row);
};
found.filtered = type("GUIDED 0.05");
found.status = page.querySelector("[role=status]").textContent;
const clipboard = { writeText: async (text) => { found.copied = text; } };
Object.defineProperty(frames.desk.navigator, "clipboard", { value: clipboard });
page.querySelector(".tools button").click();
await new Promise((done) => setTimeout(done, 50));
found.none = type("no such row");
found.unfiltered = type("");
heads[distance].querySelector("button").focus();
found.focus = page.activeElement.textContent;

found.images = Array.from(page.images, (image) => [image.complete, image.naturalWidth, image.naturalHeight, image.width]);
const style = frames.desk.getComputedStyle(page.body);
found.colours = [style.backgroundColor, style.color];

const phone = frames.phone.document;
const width = frames.phone.innerWidth;
found.phone = { inner: width, scroll: phone.documentElement.scrollWidth };
const outside = (e) => !e.closest(".wide > *, pre") && e.getBoundingClientRect().right > width + 1;
found.outside = Array.from(phone.querySelectorAll("body *")).filter(outside).map((e) => e.outerHTML.slice(0, 80));
const boxes = Array.from(phone.querySelectorAll(".wide"));
found.boxes = boxes.map((box) => [box.scrollWidth > box.clientWidth, box.tabIndex, box.ariaLabel]);

const plain = frames.plain.document;
const unscripted = plain.querySelector("main table");
found.plain = {
  controls: plain.querySelectorAll("button, input").length,
  rows: unscripted.tBodies[0].rows.length,
  heads: unscripted.tHead.textContent,
};
found.problems = { desk: frames.desk.problems, phone: frames.phone.problems };
return found;
