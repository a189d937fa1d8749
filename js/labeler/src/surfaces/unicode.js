// Positions in a text: JavaScript counts UTF-16 units, the store counts code points, people see graphemes (UAX #29)
const segmenter = granularity => typeof Intl.Segmenter === 'function' ? new Intl.Segmenter(undefined, {granularity}) : null
const graphemes = segmenter('grapheme'), words = segmenter('word')
const RTL = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u, STRONG = /\p{L}/u

function below(sorted, v) {                           // how many are smaller than v
  let a = 0, b = sorted.length
  while (a < b) { const m = (a + b) >> 1; if (sorted[m] < v) a = m + 1; else b = m }
  return a
}

export class Text {
  constructor(s) {
    this.s = s
    this.wide = []                                    // places of pairs: two units, one code point
    for (const m of s.matchAll(/[\ud800-\udbff][\udc00-\udfff]/g)) this.wide.push(m.index)
    this.wideAt = this.wide.map((u, i) => u - i)
  }
  codePoint(u) { return u - below(this.wide, u) }
  unit(c) { return c + below(this.wideAt, c) }
  get cuts() {                                        // all boundaries of graphemes, found once; null: every place is one
    if (this._cuts === undefined) this._cuts = /^[\x20-\x7e\n]*$/.test(this.s) ? null : graphemes ? [...[...graphemes.segment(this.s)].map(g => g.index), this.s.length]
      : [...[...this.s.matchAll(/\r\n|\P{M}[\p{M}\u200d\ufe0f]*/gu)].map(m => m.index), this.s.length]
    return this._cuts
  }
  down(u) { u = Math.max(0, Math.min(u, this.s.length)); const c = this.cuts; if (!c) return u; const i = below(c, u); return c[i] === u ? u : c[i - 1] ?? 0 }
  up(u) { u = Math.max(0, Math.min(u, this.s.length)); const c = this.cuts; return c ? c[below(c, u)] ?? this.s.length : u }
  step(u, forward) { return forward ? this.up(u + 1) : this.down(u - 1) }
  near(u) {                                           // the segments of the line around u, where they are words
    const a = Math.max(this.s.lastIndexOf('\n', u - 1) + 1, u - 2000), end = this.s.indexOf('\n', u), b = Math.min(end < 0 ? this.s.length : end + 1, u + 2000), line = this.s.slice(a, b)
    const found = words ? [...words.segment(line)].filter(w => w.isWordLike) : [...line.matchAll(/[\p{L}\p{N}\p{M}_]+/gu)].map(m => ({index: m.index, segment: m[0]}))
    return found.map(w => [this.down(a + w.index), this.up(a + w.index + w.segment.length)])
  }
  word(u) { return this.near(u).find(([a, b]) => a <= u && u < b) ?? this.near(u).find(([, b]) => b === u) ?? null }
  wordStep(u, forward) {
    if (forward) { const w = this.near(u).find(([, b]) => b > u); return w ? w[1] : u < this.s.length ? this.next(u) : u }
    const w = this.near(u).reverse().find(([a]) => a < u)
    return w ? w[0] : u > 0 ? Math.max(0, this.s.lastIndexOf('\n', u - 2) + 1, u - 2000) : 0
  }
  next(u) { const n = this.s.indexOf('\n', u); return n < 0 ? this.s.length : Math.min(n + 1, u + 2000) }
  whole(a, b) {                                       // out to the ends of the words in which a range begins and ends
    [a, b] = this.trim(a, b)
    const from = this.near(a).find(([p, q]) => p <= a && a < q), to = this.near(b - 1).find(([p, q]) => p < b && b <= q)
    return [from ? from[0] : a, to ? to[1] : b]
  }
  trim(a, b) {                                        // without white space at the ends, unless there is nothing else
    while (a < b && /\s/.test(this.s[a])) a++
    while (b > a && /\s/.test(this.s[b - 1])) b--
    return [this.down(a), this.up(b)]
  }
  rtl(u) {                                            // does the text here run from right to left?
    for (const d of [0, -1]) for (let i = u + d, n = 0; i >= 0 && i < this.s.length && this.s[i] !== '\n' && n < 40; i += d || 1, n++) {
      const ch = String.fromCodePoint(this.s.codePointAt(i))
      if (RTL.test(ch)) return true
      if (STRONG.test(ch)) return false
      if (d === 0 && n > 8) break
    }
    return false
  }
}
