// Small tools for the page. What users wrote becomes text nodes and nothing else.
export function h(tag, props = {}, ...kids) {
  const el = document.createElement(tag)
  for (const [k, v] of Object.entries(props)) {
    if (v === undefined || v === null || v === false) continue
    if (k.startsWith('on')) el.addEventListener(k.slice(2), v)
    else if (k === 'class') el.className = v
    else if (k === 'style') for (const [p, s] of Object.entries(v)) el.style.setProperty(p, s)
    else el.setAttribute(k, v === true ? '' : v)
  }
  el.append(...kids.flat(3).filter(k => k !== undefined && k !== null && k !== false))
  return el
}

export function text(el, s) { if (el.textContent !== s) el.textContent = s }

export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID()          // only there on https and localhost
  const b = crypto.getRandomValues(new Uint8Array(16))
  b[6] = (b[6] & 15) | 64; b[8] = (b[8] & 63) | 128
  const x = [...b].map(v => v.toString(16).padStart(2, '0')).join('')
  return [x.slice(0, 8), x.slice(8, 12), x.slice(12, 16), x.slice(16, 20), x.slice(20)].join('-')
}

// The key that was meant: `key`, or with an input method or a layout without Latin letters what the same place gives on a US keyboard
export function keyOf(ev) {
  const k = ev.key, c = ev.code || ''
  return k && k.length > 1 && !['Process', 'Unidentified', 'Dead'].includes(k) ? k : k && k.length === 1 && k <= '~' ? k : codeKey(ev) ?? k
}
export function codeKey(ev) {
  const c = ev.code || '', m = c.match(/^(Key|Digit|Numpad)([A-Z0-9])$/)
  if (m) return m[1] === 'Key' && !ev.shiftKey ? m[2].toLowerCase() : m[2]
  return {Slash: ev.shiftKey ? '?' : '/', Space: ' ', Enter: 'Enter', NumpadEnter: 'Enter'}[c]
}

export const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null)
const names = {' ': 'Space', ArrowLeft: '←', ArrowRight: '→', PageDown: 'PgDn', ArrowUp: '↑', ArrowDown: '↓', Delete: 'Del', Escape: 'Esc'}
export const keyName = k => names[k] ?? k
export const kbd = k => h('kbd', {'aria-hidden': 'true'}, keyName(k))
