// Many items at a time: select, then one key labels them all, in one transaction
import {h} from './dom.js'
import {content} from './surfaces/class.js'

export function grid({el, task, api, view}) {
  const {session: s, spec} = api, multi = task.kind === 'classes'
  const box = h('div', {class: 'pnl-cells', role: 'grid', 'aria-label': 'items', 'aria-multiselectable': 'true'})
  let at = 0, anchor = 0, chosen = new Set(), drawn = ''
  el.append(box)
  const start = () => s.pos, size = () => Math.max(0, Math.min(spec.grid, (s.end ?? Infinity) - start()))
  const item = i => s.item(start() + i)
  const targets = () => (chosen.size ? [...chosen].sort((a, b) => a - b) : [at]).map(item).filter(Boolean)
  const columns = () => { const c = box.children; let n = 1; while (n < c.length && c[n].offsetTop === c[0].offsetTop) n++; return n }

  function cell(i) {
    const it = item(i)
    if (!it) return h('div', {class: 'pnl-cell pnl-empty', role: 'gridcell'})
    return h('div', {class: 'pnl-cell', role: 'gridcell', 'data-i': i, onclick: ev => {
      if (ev.shiftKey) range(anchor, i); else { chosen.has(i) ? chosen.delete(i) : chosen.add(i); anchor = i }
      at = i; marks(); view.root.focus({preventScroll: true})
    }}, h('div', {class: 'pnl-thumb'}, content(it, {room: 180})), h('div', {class: 'pnl-cap', dir: 'auto'}))
  }
  function range(a, b) { chosen = new Set(); for (let i = Math.min(a, b); i <= Math.max(a, b); i++) if (item(i)) chosen.add(i) }
  function marks() {
    const used = new Set()
    for (const [i, c] of [...box.children].entries()) {
      const it = item(i)
      if (!it || !c.dataset.i) continue
      const mine = s.mine(it), v = mine?.skip ? null : mine?.value, p = mine ? null : it.proposal ?? null, shown = v ?? p
      const first = Array.isArray(shown) ? shown[0] : shown
      c.classList.toggle('pnl-at', i === at)
      c.classList.toggle('pnl-chosen', chosen.has(i))
      c.classList.toggle('pnl-done', !!mine)
      c.setAttribute('aria-selected', chosen.has(i))
      c.style.setProperty('--c', first ? task.colors[first] : 'transparent')
      const t = mine?.skip ? 'skipped' : shown === null || shown === undefined ? '' : view.saying(shown) + (p === null ? '' : ' ?')
      c.lastChild.textContent = t
      c.lastChild.classList.toggle('pnl-proposed', p !== null)
      c.setAttribute('aria-label', `item ${it.pos + 1}${t ? ', ' + t : ''}`)
      if (i === at || chosen.has(i)) for (const x of [shown].flat()) if (x) used.add(x)
    }
    view.pressed([...used])
    const n = chosen.size
    view.meta.replaceChildren(h('span', {class: 'pnl-place'}, `#${start() + 1} – ${start() + size()}`),
      h('span', {}, n ? `${n} selected` : 'no selection: a key labels the framed item'), h('span', {class: 'pnl-small'}, 'arrows move · Space selects · Shift selects a range · Enter goes on'))
  }
  function move(i, ev) {
    if (i < 0) return s.pos > 0 && page(-1)
    if (i >= size()) return page(1)
    at = i
    if (ev?.shiftKey) range(anchor, at); else anchor = at
    marks()
    box.children[at]?.scrollIntoView?.({block: 'nearest'})
    view.say(box.children[at]?.getAttribute('aria-label') ?? '')
  }
  function page(d) {
    const to = start() + d * spec.grid
    if (s.end !== null && to >= s.end) return s.go(s.end)
    at = anchor = 0; chosen = new Set()
    s.go(Math.max(0, to))
  }
  function commit(changes) {
    if (!changes.length) return
    s.commit(changes, 0)
    chosen = new Set()
    const i = [...Array(size()).keys()].find(i => item(i) && !s.mine(item(i)))
    if (i === undefined) view.say('this page is done: Enter for the next')
    else if (s.mine(item(at))) at = anchor = i
    marks()
  }
  return {
    page() {
      const now = `${s.snap}/${start()}/` + [...Array(size()).keys()].map(i => item(i)?.id ?? '').join()
      if (now === drawn) return marks()
      if (!drawn.startsWith(`${s.snap}/${start()}/`)) { at = anchor = 0; chosen = new Set() }
      drawn = now
      box.replaceChildren(...[...Array(Math.min(size(), spec.grid)).keys()].map(cell))
      marks()
    },
    mine: marks,
    hide() { drawn = ''; box.replaceChildren() },
    key(ev, k) {
      const c = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns()}[k]
      if (c !== undefined) {
        const to = at + c
        return (k === 'ArrowUp' || k === 'ArrowDown') && (to < 0 || to >= size()) || move(to, ev), true
      }
      if (k === ' ') { chosen.has(at) ? chosen.delete(at) : chosen.add(at); anchor = at; marks(); return true }
      if (k === 'PageDown' || k === 'PageUp') return page(k === 'PageDown' ? 1 : -1), true
      if (k === 'Home' || k === 'End') return move(k === 'Home' ? 0 : size() - 1, ev), true
      return false
    },
    chord(k) { if (k === 'a') { range(0, size() - 1); marks(); view.say(`${chosen.size} selected`); return true } },
    pick(c) {
      const list = targets(), now = it => { const m = s.mine(it); return m && !m.skip ? m.value : it.proposal ?? [] }
      if (!multi) commit(list.map(it => ({item: it, kind: 'label', value: c})))
      else {
        const all = list.every(it => now(it).includes(c))
        commit(list.map(it => ({item: it, kind: 'label', value: task.classes.filter(x => x === c ? !all : now(it).includes(x))})))
      }
      view.say(`${list.length} labeled ${c}`)
    },
    skip() { commit(targets().map(it => ({item: it, kind: 'skip'}))) },
    accept() {
      const list = (chosen.size ? targets() : [...Array(size()).keys()].map(item)).filter(it => it && !s.mine(it) && (it.proposal ?? null) !== null)
      if (list.length) { commit(list.map(it => ({item: it, kind: 'label', value: it.proposal}))); view.say(`${list.length} proposals accepted`) }
      else page(1)
    },
    lead: () => (chosen.size ? targets() : [...Array(size()).keys()].map(item)).some(it => it && !s.mine(it) && (it.proposal ?? null) !== null) ? 'Accept' : 'Next page',
    cancel() { chosen = new Set(); marks() },
    current: () => item(at), active: () => [], value: () => null, dirty: () => false, show() {}, step: () => spec.grid,
    help: [['class key', 'label what is selected, or the framed item'], ['Space', 'select or let go'], ['Shift', 'with arrows or a click: select a range'], ['Ctrl+A', 'select the page'],
      ['PageDown', 'next page'], ['Enter', 'accept the proposals of the page or the selection; without any: next page']],
    destroy() { el.replaceChildren() },
  }
}
