// Which events were accepted lately, and which are being accepted now.

export class Dedup {
  #accepted = new Map();
  #underWay = new Map();

  constructor(windowSeconds, maxEvents) {
    this.window = windowSeconds * 1000;
    this.maxEvents = maxEvents;
  }

  // Calls `deliver` for the first of its kind; resolves to whether this was a duplicate.
  async once(key, deliver) {
    const acceptedAt = this.#accepted.get(key);
    if (acceptedAt !== undefined && performance.now() - acceptedAt < this.window) return true;
    const first = this.#underWay.get(key);
    if (first !== undefined) {
      await first;
      return true;
    }
    const delivery = deliver();
    this.#underWay.set(key, delivery);
    try {
      await delivery;
    } finally {
      this.#underWay.delete(key);
    }
    this.#remember(key);
    return false;
  }

  #remember(key) {
    this.#accepted.delete(key);
    this.#accepted.set(key, performance.now());
    const horizon = performance.now() - this.window;
    for (const [oldest, at] of this.#accepted) {
      if (this.#accepted.size <= this.maxEvents && at > horizon) return;
      this.#accepted.delete(oldest);
    }
  }
}
