// A small seeded generator, so that a failing case can be had again: ROUNDS and SEED come from the environment.

export const ROUNDS = Number(process.env.ROUNDS ?? 1500);
export const SEED = Number(process.env.SEED ?? 20260101);

export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit) {
    return Math.floor(this.next() * limit);
  }

  chance(part) {
    return this.next() < part;
  }

  pick(list) {
    return list[this.below(list.length)];
  }
}

const LETTERS = [..."abc \n*`é漢👍🏽👨‍👩‍👧🇩🇪" + "e\u0301"];

/** Text with emoji, joiners, combining marks and CJK, of up to `limit` code points. */
export function someText(random, limit) {
  return Array.from({ length: random.below(limit + 1) }, () => random.pick(LETTERS)).join("");
}
