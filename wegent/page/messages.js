// The list of messages: bubbles in the order of the rows, drawn at animation frames, and a view that follows the end.

import { makeBubble } from "./bubble.js";

const AT_END_PX = 6;
const HEAVY_MS = 10;

export class MessageList {
  /** `parts`: the elements `list`, `scroller`, `toEnd`. `actions` are those of the bubbles. */
  constructor(parts, actions) {
    Object.assign(this, parts, { actions });
    this.task = null;
    this.bubbles = new Map();
    this.dirty = new Set();
    this.follow = true;
    this.lastTop = 0;
    this.frame = 0;
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.toEnd.addEventListener("click", () => this.goToEnd());
    new ResizeObserver(() => this.follow && this.#toBottom()).observe(this.scroller);
  }

  /** Show another task. */
  show(task) {
    this.task = task;
    this.bubbles.clear();
    this.list.replaceChildren();
    this.dirty = new Set([...task.rows.values(), ...task.own.values()]);
    this.goToEnd();
    this.#schedule();
  }

  /** Rows changed; they are drawn at the next frame. */
  touch(task, rows) {
    this.task = task;
    rows.forEach((row) => this.dirty.add(row));
    this.#schedule();
  }

  goToEnd() {
    this.follow = true;
    this.#toBottom();
  }

  /** Add messages above: what is being read stays where it is. */
  async keepPlace(change) {
    this.follow = false;
    await change();
    const below = this.scroller.scrollHeight - this.scroller.scrollTop;
    this.#draw();
    this.scroller.scrollTop = this.scroller.scrollHeight - below;
  }

  /** Drawing that takes long is done less often: typing must stay smooth however long the answer is. */
  #schedule() {
    if (this.frame === 0) {
      this.frame = requestAnimationFrame(() => this.#tick());
    }
  }

  #tick() {
    const before = performance.now();
    this.#draw();
    const cost = performance.now() - before;
    this.frame = cost > HEAVY_MS ? setTimeout(() => this.#rested(), 4 * cost) : 0;
  }

  #rested() {
    this.frame = 0;
    if (this.dirty.size > 0) {
      this.#schedule();
    }
  }

  #draw() {
    const dirty = this.dirty;
    this.dirty = new Set();
    this.#arrange(dirty);
    dirty.forEach((row) => this.bubbles.get(row.key)?.update(row));
    if (this.follow) {
      this.#toBottom();
    }
  }

  #arrange(dirty) {
    const rows = this.task.ordered();
    const keys = new Set(rows.map((row) => row.key));
    for (const [key, bubble] of this.bubbles) {
      if (!keys.has(key)) {
        bubble.node.remove();
        this.bubbles.delete(key);
      }
    }
    let place = this.list.firstChild;
    for (const row of rows) {
      if (!this.bubbles.has(row.key)) {
        this.bubbles.set(row.key, makeBubble(row, this.actions));
        dirty.add(row);
      }
      const { node } = this.bubbles.get(row.key);
      if (node === place) {
        place = place.nextSibling;
      } else {
        this.list.insertBefore(node, place);
      }
    }
  }

  #toBottom() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.toEnd.hidden = true;
  }

  /** Who scrolls up wants to read; who comes back to the end wants to follow again. */
  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    if (scrollHeight - scrollTop - clientHeight <= AT_END_PX) {
      this.follow = true;
    } else if (scrollTop < this.lastTop) {
      this.follow = false;
    }
    this.lastTop = scrollTop;
    this.toEnd.hidden = this.follow;
  }
}
