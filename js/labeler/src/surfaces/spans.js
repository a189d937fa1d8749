// Spans of text. Recogito finds where a span lies on the page, in any script and direction, and paints it under the text, which stays
// one text node; selecting, keys and labels are here. Positions are UTF-16 units inside, code points in what is stored.
import {createTextAnnotator} from '@recogito/text-annotator'
import {h, kbd, same} from '../dom.js'
import {content} from './class.js'
import {guest} from './guest.js'
import {Text} from './unicode.js'
import css from './spans.css'

const LIMIT = 200, WORDS = 'pretrain-notes/whole-words'

export function surface({el, task, api}) {
  let item = null, t = new Text(''), spans = [], start = [], at = null, brush = null, sel = [0, 0], caretOn = false, held = false, past = [], future = [], nudge = null, serial = 0, frame = 0, goal = null
  const words = document.createTextNode(''), over = h('div', {class: 'pns-over not-annotatable', 'aria-hidden': 'true'}), caret = h('i', {class: 'pns-caret', hidden: true})
  const text = h('div', {class: 'pns-text', dir: 'auto'}, words), page = h('div', {class: 'pns-page'}, text), scroll = h('div', {class: 'pns-scroll'}, page)     // painting beside the text does not lay it out anew
  const head = h('span', {class: 'pns-n'}), state = h('span', {class: 'pns-now'}), list = h('div', {class: 'pns-list', role: 'listbox', 'aria-label': 'spans'})
  const whole = h('button', {type: 'button', class: 'pnl-tool pns-whole', 'aria-keyshortcuts': '.', title: 'what is selected by mouse grows to whole words (.)', onclick: () => snap(!snapping)}, h('span', {}, 'Whole words'), kbd('.'))
  const root = h('div', {class: 'pns'}, h('style', {}, css), h('div', {class: 'pns-row'}, scroll, h('div', {class: 'pns-side'}, head, list)), h('div', {class: 'pns-foot'}, state, whole))
  let snapping = false
  function snap(on, quiet = false) {                  // remembered in this browser
    snapping = on
    whole.setAttribute('aria-pressed', on)
    try { if (!quiet) on ? localStorage.setItem(WORDS, '1') : localStorage.removeItem(WORDS) } catch { /* then for this page only */ }
    if (!quiet) api.announce(on ? 'selections by mouse grow to whole words' : 'selections are exact, to the character')
  }
  try { snap(!!localStorage.getItem(WORDS), true) } catch { snap(false, true) }
  const [reco, leave] = guest(() => createTextAnnotator(page, {annotatingEnabled: false, userSelectAction: 'NONE', renderer: 'SPANS', style: a => look(a.id)}), ['scroll'])
  const {store} = reco.state
  page.append(over); over.append(caret)
  page.removeAttribute('tabindex')
  store.onRecalculatePositions(() => draw())
  el.classList.add('pns-stage')

  // ---- spans
  const find = id => spans.find(s => s.id === id), selected = () => find(at), order = () => [...spans].sort((p, q) => p.a - q.a || q.b - p.b)
  const said = () => order().map(s => ({label: s.label, start: t.codePoint(s.a), end: t.codePoint(s.b)}))
  const quote = (s, n = 60) => { const q = t.s.slice(s.a, s.b).replace(/\s+/g, ' '); return q.length > n ? `${q.slice(0, t.down(n))}…` : q }
  const about = s => `${s.label}${s.model ? ' (model)' : ''}: ${quote(s)}`
  const snapshot = () => ({spans, at})
  function remember() { past.push(snapshot()); if (past.length > LIMIT) past.shift(); future = []; nudge = null }
  function levels() {                                 // spans that overlap are underlined at different heights
    const open = []
    for (const s of order()) {
      const used = new Set(open.filter(o => o.b > s.a).map(o => o.level))
      s.level = 0
      while (used.has(s.level)) s.level++
      open.push(s)
      while (open.length && open[0].b <= s.a) open.shift()
    }
  }
  function look(id) {
    const s = find(id)
    if (!s) return {fill: '#888888', fillOpacity: 0}
    const on = id === at
    return {fill: task.colors[s.label], fillOpacity: on ? .42 : s.model ? .1 : .2, underlineColor: task.colors[s.label], underlineStyle: s.model ? 'dashed' : 'solid', underlineThickness: on ? 3 : 2, underlineOffset: Math.min(s.level, 2) * 3}
  }
  const annotation = s => ({id: s.id, bodies: [], target: {annotation: s.id, selector: [{quote: '', start: s.a, end: s.b}], created: new Date(0)}})
  function mirror() {                                 // tell Recogito what is new, gone or moved
    const known = new Map(store.all().map(a => [a.id, a.target.selector[0]])), fresh = spans.filter(s => { const k = known.get(s.id); return !k || k.start !== s.a || k.end !== s.b }), now = new Set(spans.map(s => s.id))
    const gone = [...known.keys()].filter(id => !now.has(id) || fresh.some(s => s.id === id))
    levels()
    if (gone.length) store.bulkDeleteAnnotations(gone, 'REMOTE')
    if (fresh.length) store.bulkAddAnnotations(fresh.map(annotation), false, 'REMOTE')
  }
  function done(msg) { mirror(); draw(); api.changed(); if (msg) api.announce(msg) }
  function restore(s) { spans = s.spans; at = find(s.at) ? s.at : null; nudge = null; done() }
  function put(label) {
    const [a, b] = t.trim(...range())
    if (a >= b) return false
    const twin = spans.find(s => s.a === a && s.b === b && s.label === label)
    if (!twin) { remember(); const s = {id: `n${++serial}`, label, a, b}; spans = [...spans, s]; at = s.id } else at = twin.id
    place(b, b); caretOn = api.item() && !brush; held = false
    done(twin ? 'this span is there already' : about(selected()))
    return true
  }
  function edit(change, key = null) {
    const s = selected()
    if (!s) return
    const next = {...s, ...change, model: false}
    if (next.a >= next.b) return
    if (!key || nudge !== `${s.id} ${key}`) remember()
    spans = spans.map(o => o === s ? next : o)
    done(about(next))
    nudge = key && `${s.id} ${key}`
  }
  function remove() {
    const s = selected() ?? under(sel[1])
    if (!s) return api.announce('no span is selected: Tab selects one')
    remember()
    spans = spans.filter(o => o !== s); at = null; held = false
    done(`${s.label} removed`)
  }
  const covering = u => spans.filter(s => s.a <= u && u <= s.b).sort((p, q) => (u === p.b) - (u === q.b) || p.b - p.a - (q.b - q.a))
  const under = u => covering(u)[0]
  function choose(s) { at = s?.id ?? null; nudge = null; draw(); api.changed(); if (s) api.announce(`${order().indexOf(s) + 1} of ${spans.length}: ${about(s)}`) }

  // ---- what is selected in the text
  const range = () => sel[0] < sel[1] ? sel : [sel[1], sel[0]]
  const empty = () => sel[0] === sel[1]
  function place(a, b, show = true) {
    sel = [a, b]
    const s = document.getSelection()
    try { a === b ? s.collapse(words, b) : s.setBaseAndExtent(words, a, words, b) } catch { /* not on the page now */ }
    if (show) reveal(b)
    draw()
  }
  function read() {                                   // the selection of the browser, if it is in the text: whole graphemes, in its direction
    const s = document.getSelection()
    if (!s.rangeCount || !root.isConnected) return null
    const r = s.getRangeAt(0)
    if (!r.intersectsNode(words) || !(text.contains(s.anchorNode) || text.contains(s.focusNode))) return null
    const a = r.startContainer === words ? r.startOffset : r.comparePoint(words, 0) < 0 ? t.s.length : 0
    const b = r.endContainer === words ? r.endOffset : r.comparePoint(words, t.s.length) > 0 ? 0 : t.s.length
    if (a >= b) return [t.down(a), t.down(a)]
    const back = s.focusNode === words && s.focusOffset === a && s.anchorOffset !== a
    return back ? [t.up(b), t.down(a)] : [t.down(a), t.up(b)]
  }
  function rectOf(u) {
    const r = document.createRange(), forward = u < t.s.length && t.s[u] !== '\n' || u === 0, [a, b] = forward ? [u, t.step(u, true)] : [t.step(u, false), u]
    r.setStart(words, Math.min(a, t.s.length)); r.setEnd(words, Math.min(b, t.s.length))
    const all = [...r.getClientRects()], box = forward ? all[0] : all[all.length - 1] ?? all[0]
    if (!box) return null
    const o = text.getBoundingClientRect(), right = t.rtl(u) === forward, line = !forward && t.s[u - 1] === '\n'
    return {x: (line ? o.left + (t.rtl(u) ? o.width : 0) : right ? box.right : box.left) - o.left, y: box.top - o.top + (line ? box.height * 2 : 0), height: box.height}
  }
  function reveal(u) {
    const c = rectOf(u)
    if (!c) return
    if (c.y < scroll.scrollTop + 10) scroll.scrollTop = c.y - 60
    else if (c.y + c.height > scroll.scrollTop + scroll.clientHeight - 30) scroll.scrollTop = c.y - scroll.clientHeight / 2
  }
  function go(u, ev, keepGoal = false) {
    if (!keepGoal) goal = null
    caretOn = true; held = false
    const near = under(u)
    at = ev.shiftKey ? at : near?.id ?? null
    place(ev.shiftKey ? sel[0] : u, u)
    api.changed()
    api.announce(ev.shiftKey ? `selected: ${quote({a: range()[0], b: range()[1]})}` : `${t.s.slice(u, t.step(u, true)) || 'end'}${near ? `, in ${about(near)}` : ''}`)
  }
  function vertical(down, ev) {                       // the browser knows the lines
    const s = document.getSelection(), c = rectOf(sel[1]), before = sel[1]
    if (!c) return
    goal ??= c.x
    place(sel[1], sel[1])
    const o = text.getBoundingClientRect(), y = o.top + (down ? c.y + c.height * 1.5 + 14 : c.y - 14), x = o.left + goal
    const point = document.caretPositionFromPoint?.(x, y) ?? document.caretRangeFromPoint?.(x, y), node = point?.offsetNode ?? point?.startContainer, off = point?.offset ?? point?.startOffset
    const anchor = ev.shiftKey ? ev.anchor : null
    if (node === words) { sel = [anchor ?? off, before]; return go(t.down(off), ev, true) }
    s.modify?.('move', down ? 'forward' : 'backward', 'line')
    const u = s.focusNode === words ? t.down(s.focusOffset) : down ? t.s.length : 0
    sel = [anchor ?? u, before]
    go(u, ev, true)
  }
  const watch = () => {                               // a finger moved the handles of the selection, or someone selected elsewhere
    const s = document.getSelection()
    if (!s.rangeCount || s.isCollapsed || !text.contains(s.anchorNode)) return
    const r = read()
    if (r && !same(r, sel)) { sel = r; held = false; caretOn = false; draw() }
  }
  document.addEventListener('selectionchange', watch)
  let later = null
  const settle = () => { const f = later; later = null; f?.() }
  const soon = f => { settle(); later = f; setTimeout(settle) }               // once the browser has moved its selection; at once if the next key or click comes first
  for (const kind of ['keydown', 'pointerdown']) document.addEventListener(kind, settle, true)
  let pressed = null
  scroll.addEventListener('pointerdown', ev => { if (ev.button === 0) { pressed = [ev.clientX, ev.clientY, ev.shiftKey]; caretOn = false; goal = null; nudge = null } })
  const up = ev => {
    if (!pressed || ev.type === 'pointercancel') return void (pressed = null)
    const [x, y] = pressed, click = Math.hypot(ev.clientX - x, ev.clientY - y) < 5
    pressed = null
    if (ev.detail > 1 && ev.pointerType === 'mouse') return
    soon(() => {
      const r = read()
      if (!r || !item || item.error) return
      if (r[0] === r[1]) {
        if (!click) return
        const c = covering(r[1]), i = c.findIndex(s => s.id === at)
        sel = r; caretOn = true; held = false
        choose(c[(i + 1) % c.length] ?? null)         // a click again: the next one below
        api.focus()
      } else take(r)
    })
  }
  document.addEventListener('pointerup', up); document.addEventListener('pointercancel', up)
  function take(r) {
    at = null; held = false
    if (snapping) r = r[0] <= r[1] ? t.whole(...r) : t.whole(r[1], r[0]).reverse()
    place(...r, false)
    api.focus()
    place(...r, false)
    if (brush) put(brush)
    else { api.changed(); api.announce(`selected: ${quote({a: range()[0], b: range()[1]})}`) }
  }
  scroll.addEventListener('dblclick', ev => {
    const s = document.getSelection(), point = document.caretPositionFromPoint?.(ev.clientX, ev.clientY) ?? document.caretRangeFromPoint?.(ev.clientX, ev.clientY)
    const node = point?.offsetNode ?? point?.startContainer, u = node === words ? point.offset ?? point.startOffset : s.anchorNode === words ? Math.min(s.anchorOffset, s.focusOffset) : null
    const w = u === null ? null : t.word(u)
    if (w) soon(() => take(w))
  })

  // ---- painting
  function draw() { frame ||= requestAnimationFrame(() => { frame = 0; if (root.isConnected) paint() }) }
  const tags = new Map(), rows = new Map()
  function paint() {
    reco.redraw()
    const top = scroll.scrollTop - 400, bottom = scroll.scrollTop + scroll.clientHeight + 400, width = text.clientWidth, lines = new Map()
    for (const s of spans) {                          // where labels begin: at the left, or at the right where the text runs that way
      const r = store.getAnnotationRects(s.id)[0], rtl = t.rtl(s.a), line = r && `${Math.round(r.y / 6)} ${rtl}`
      if (r && r.y < bottom && r.y > top) lines.set(line, [...lines.get(line) ?? [], {s, rtl, x: rtl ? width - r.x - r.width : r.x, y: r.y + r.height + 4}])
    }
    const shown = []
    for (const line of lines.values()) {              // labels of one line stand beside each other, cut where there is no room
      line.sort((p, q) => p.x - q.x || p.s.level - q.s.level)
      const y = Math.max(...line.map(p => p.y + Math.min(p.s.level, 2) * 3))
      let end = 0
      for (const [i, p] of line.entries()) {
        const wish = [...p.s.label].reduce((n, c) => n + (c > '\u2e80' ? 11 : 7.8), 8), x = Math.max(p.x, end), next = line.slice(i + 1).find(q => q.x > p.x + 4)
        end = x + Math.max(18, Math.min(wish, (next?.x ?? width) - x)) + 2
        shown.push({...p, x, y, room: end - x - 2})
      }
    }
    for (const p of shown) {
      const tag = tags.get(p.s.id) ?? h('bdi', {class: 'pns-tag'})
      tag.textContent = p.s.label
      tag.className = `pns-tag ${p.s.id === at ? 'pns-on' : ''} ${p.s.model ? 'pns-model' : ''}`
      tag.style.cssText = `top:${p.y}px;${p.rtl ? 'right' : 'left'}:${p.x}px;max-width:${p.room}px;`
      tag.style.setProperty('--c', task.colors[p.s.label])
      if (tag.parentNode !== over) over.append(tag)
      tags.set(p.s.id, tag)
    }
    const here = new Set(shown.map(p => p.s.id))
    for (const [id, tag] of tags) if (!here.has(id)) { tag.remove(); tags.delete(id) }
    const c = caretOn ? rectOf(sel[1]) : null
    caret.hidden = !c
    if (c) { caret.style.cssText = `left:${c.x - 1}px;top:${c.y - 1}px;height:${c.height + 2}px`; caret.style.animation = 'none'; caret.offsetWidth; caret.style.animation = '' }
    sides()
    const n = empty() ? 0 : range()[1] - range()[0]
    state.textContent = n ? `“\u2068${quote({a: range()[0], b: range()[1]}, 40)}\u2069” selected: a class key labels it` : brush ? `marking ${brush}: what you select becomes one (Esc ends it)` : at ? `${selected().label}: a class key changes it, Delete removes it` : 'select text, then press the key of a class'
  }
  function sides() {
    const all = order(), part = all.length > 300 ? all.slice(Math.max(0, all.findIndex(s => s.id === at) - 100)).slice(0, 200) : all
    const keep = new Set(part.map(s => s.id))
    for (const [id, r] of rows) if (!keep.has(id)) { r.el.remove(); rows.delete(id) }
    for (const [i, s] of part.entries()) {
      let r = rows.get(s.id)
      if (!r) { r = {el: h('div', {class: 'pns-item', role: 'option', onclick: () => { walkTo(find(s.id)); api.focus() }})}; rows.set(s.id, r) }
      const on = s.id === at
      if (r.s !== s || r.on !== on) {
        r.el.replaceChildren(h('bdi', {class: 'pns-quote'}, quote(s, 40)), h('bdi', {class: 'pns-label'}, s.label + (s.model ? ' · model' : '')))
        r.el.style.setProperty('--c', task.colors[s.label])
        r.el.setAttribute('aria-selected', on); r.el.setAttribute('aria-label', about(s))
        if (on && !r.on) queueMicrotask(() => r.el.scrollIntoView?.({block: 'nearest'}))
        r.s = s; r.on = on
      }
      if (list.children[i] !== r.el) list.insertBefore(r.el, list.children[i] ?? null)
    }
    head.textContent = spans.length === 1 ? '1 span' : `${spans.length} spans`
  }
  scroll.addEventListener('scroll', draw, {passive: true})
  function walkTo(s) { caretOn = false; held = true; place(s.b, s.b); choose(s); reveal(s.a) }
  function walk(back) {
    const all = order(), i = all.findIndex(s => s.id === at), to = i < 0 ? back ? -1 : Math.max(0, all.findIndex(s => s.a >= sel[1])) : i + (back ? -1 : 1)
    if (!all[to]) { if (at) choose(null); held = false; return false }
    walkTo(all[to])
    return true
  }
  function reach(u, which) {                          // move an end of the span that Tab has chosen
    const s = selected()
    which === 'b' ? u > s.a && edit({b: u}, 'b') : u < s.b && edit({a: u}, 'a')
    reveal(u)
    held = true
  }
  const forward = (k, u) => (k === 'ArrowRight') !== t.rtl(u)
  const dirty = () => !same(said(), start)
  function leaveTo(to) {                              // what was changed is stored, whichever way one goes
    const s = api.session, it = s.item()
    if (!dirty() || api.spec.review || api.spec.qualify) return s.go(s.pos + to)
    if (to > 0) return api.commit(said())
    s.commit([{item: it, kind: 'label', value: said()}], 0)
    s.go(s.pos - 1)
  }
  return {
    show(it, value, {proposal, base} = {}) {
      const again = item?.id === it.id
      item = it; past = []; future = []; nudge = null; at = null; held = false
      if (it.error) { root.remove(); spans = []; return el.replaceChildren(content(it)) }
      if (root.parentNode !== el || el.childNodes.length > 1) el.replaceChildren(root)
      if (!again) { t = new Text(it.text ?? ''); words.data = t.s; sel = [0, 0]; caretOn = false; brush = null; scroll.scrollTop = 0; page.classList.toggle('pns-short', t.s.length < 160) }
      if (!again || t.s !== it.text) { store.clear('REMOTE'); tags.forEach(x => x.remove()); tags.clear() }
      spans = (value ?? proposal ?? []).map(s => ({id: `s${++serial}`, label: s.label, a: t.unit(s.start), b: t.unit(s.end), model: (value === null || value === undefined) && !!proposal}))
      start = base === undefined ? said() : (base ?? []).map(({label, start, end}) => ({label, start, end})).sort((p, q) => p.start - q.start || q.end - p.end)
      mirror(); draw()
    },
    value: () => item && !item.error ? said() : null,
    active: () => [selected()?.label ?? brush].filter(Boolean),
    dirty,
    pick(name) {
      if (!item || item.error) return
      if (!empty() && !held) return void put(name)
      if (selected()) return edit({label: name})
      brush = brush === name ? null : name
      draw(); api.changed()
      api.announce(brush ? `marking ${name}: select text` : 'marking ended')
    },
    key(ev, k) {
      if (!item || item.error || k.length === 1 && Object.values(task.keys).includes(k)) return false
      const onButton = ev.target.closest?.('button')
      if (k === 'Tab') return onButton ? false : walk(ev.shiftKey)
      if (k === 'ArrowLeft' || k === 'ArrowRight') {
        const u = held && at ? selected().b : sel[1], f = forward(k, u)
        if (ev.shiftKey && held && at) return reach(t.step(u, f), 'b'), true
        if (!ev.shiftKey && !empty()) return go(f ? range()[1] : range()[0], ev), true
        return go(t.step(u, f), ev), true
      }
      if (k === 'ArrowUp' || k === 'ArrowDown') { const [anchor] = sel; return vertical(k === 'ArrowDown', {shiftKey: ev.shiftKey, anchor}), true }
      if (k === 'Home' || k === 'End') return go(k === 'Home' ? t.s.lastIndexOf('\n', sel[1] - 1) + 1 : t.s.indexOf('\n', sel[1]) < 0 ? t.s.length : t.s.indexOf('\n', sel[1]), ev), true
      if (k === 'PageDown' || k === 'PageUp') return leaveTo(k === 'PageDown' ? 1 : -1), true
      if (k === ' ' && !onButton) {                   // the word here; again: one word more
        const w = empty() ? t.word(sel[1]) ?? t.word(t.wordStep(sel[1], true)) : [range()[0], t.wordStep(range()[1], true)]
        if (w) { at = null; held = false; caretOn = true; place(...w); api.changed(); api.announce(`selected: ${quote({a: w[0], b: w[1]})}`) }
        return true
      }
      if (k === 'Backspace') { if (!ev.repeat) remove(); return true }
      if (k === '.') { if (!ev.repeat) snap(!snapping); return true }
      return false
    },
    chord(k, ev) {
      if (!item || item.error) return false
      if (k === 'a' && !ev.altKey) { at = null; held = false; place(0, t.s.length, false); return true }
      if (k === 'Home' || k === 'End') return go(k === 'Home' ? 0 : t.s.length, ev), true
      if (k !== 'ArrowLeft' && k !== 'ArrowRight') return false
      if (held && at) {
        const s = selected(), end = ev.shiftKey ? 'b' : 'a', u = s[end], f = forward(k, u)
        return reach(ev.altKey ? t.step(u, f) : t.wordStep(u, f), ev.altKey && !ev.shiftKey ? 'a' : end), true
      }
      return go(t.wordStep(sel[1], forward(k, sel[1])), ev), true
    },
    undo() { const last = past.pop(); if (last) { future.push(snapshot()); restore(last) } return !!last },
    redo() { const next = future.pop(); if (next) { past.push(snapshot()); restore(next) } return !!next },
    remove,
    cancel() { if (!empty()) place(sel[1], sel[1]); else if (brush) brush = null; else if (at) choose(null); else caretOn = false; held = false; draw(); api.changed() },
    leave: leaveTo,
    own: ['previous', 'next', 'remove'],              // actions whose keys mean something else here, or have a row in `help`
    help: [['class key', 'label what is selected; or change the chosen span; or, with neither, mark: what you select next becomes this class'], ['arrows', 'move the caret (Ctrl: by word); with Shift: select'],
      [' ', 'select the word; again: one word more (a double click selects a word too)'], ['.', 'whole words on or off: what is selected by mouse grows to whole words, in every script'], ['Tab', 'next span (with Shift: previous); then Shift and arrows move its end, Alt and arrows its start'],
      ['Delete', 'remove the span (also Backspace)'], ['PageDown', 'next item, PageUp previous: what you changed is stored']],
    destroy() { document.removeEventListener('selectionchange', watch); document.removeEventListener('pointerup', up); document.removeEventListener('pointercancel', up); for (const kind of ['keydown', 'pointerdown']) document.removeEventListener(kind, settle, true); cancelAnimationFrame(frame); reco.destroy(); leave(); el.replaceChildren(); el.classList.remove('pns-stage') },
  }
}
