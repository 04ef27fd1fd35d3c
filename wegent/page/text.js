// Code points: the unit of every offset. JavaScript strings count UTF-16 units, so an emoji is two of those and one of these.

const LOW_SURROGATE_FIRST = 0xdc00;
const LOW_SURROGATE_LAST = 0xdfff;

function isLow(unit) {
  return unit >= LOW_SURROGATE_FIRST && unit <= LOW_SURROGATE_LAST;
}

function isHigh(unit) {
  return unit >= 0xd800 && unit < LOW_SURROGATE_FIRST;
}

/** How many code points `text` holds. */
export function codePoints(text) {
  let pairs = 0;
  for (let i = 1; i < text.length; i += 1) {
    if (isLow(text.charCodeAt(i)) && isHigh(text.charCodeAt(i - 1))) {
      pairs += 1;
      i += 1;
    }
  }
  return text.length - pairs;
}

/** The UTF-16 index that lies `count` code points after the index `from`; the text's end where it is shorter. */
export function unitIndex(text, count, from = 0) {
  let index = from;
  for (let left = count; left > 0 && index < text.length; left -= 1) {
    const pair = isHigh(text.charCodeAt(index)) && isLow(text.charCodeAt(index + 1));
    index += pair ? 2 : 1;
  }
  return index;
}

/** An append-only text that knows its length in code points. */
export class Channel {
  constructor(text = "") {
    this.set(text);
  }

  set(text) {
    this.text = text;
    this.length = codePoints(text);
  }

  /** Keep the first `length` code points. */
  cut(length) {
    if (length < this.length) {
      this.set(this.text.slice(0, unitIndex(this.text, length)));
    }
  }

  /** Take `text` in place of what is held if it reaches further; both are beginnings of one log. */
  reach(text) {
    if (text.length > this.text.length) {
      this.set(text);
    }
  }

  /**
   * Apply a delta that starts at `offset`: what overlaps is dropped, the rest appended.
   * Returns false if it starts past the end, so that something between is missing; then nothing changed.
   */
  apply(delta, offset) {
    if (offset > this.length) {
      return false;
    }
    const fresh = offset === this.length ? delta : delta.slice(unitIndex(delta, this.length - offset));
    this.text += fresh;
    this.length += codePoints(fresh);
    return true;
  }
}
