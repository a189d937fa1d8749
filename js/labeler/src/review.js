// Several answers to one item side by side: one key decides (a class by its own key, other answers by number), or another answer is given
import {h, kbd} from './dom.js'

export function review({el, task, api, view, make}) {
  const stage = h('div', {class: 'pnl-reviewed'}), list = h('div', {class: 'pnl-answers', role: 'group', 'aria-label': 'answers'})
  el.append(stage, list)
  const inner = make({el: stage, task, api})
  let item = null, options = [], at = -1
  const single = task.kind === 'class', keyOf = (o, i) => single ? task.keys[o.value] : i < 9 ? String(i + 1) : null
  const pct = o => o.share === undefined ? '' : `${Math.round(o.share * 100)} %`

  function draw() {
    list.replaceChildren(...options.map((o, i) => {
      const label = typeof o.value === 'string' ? o.value : o.value[0]?.label ?? o.value[0]
      return h('button', {type: 'button', class: 'pnl-answer', 'aria-pressed': i === at, style: {'--c': task.colors[label] ?? 'var(--pnl-line)'},
        'aria-keyshortcuts': keyOf(o, i), onclick: () => decide(i), onmouseenter: () => preview(i)},
      keyOf(o, i) && kbd(keyOf(o, i)), h('b', {dir: 'auto'}, view.saying(o.value)), h('span', {class: 'pnl-who', dir: 'auto'}, o.who.map(w => w.name + (w.score == null ? '' : ` ${Math.round(w.score * 100)} %`)).join(', ')),
      h('span', {class: 'pnl-share'}, pct(o)))
    }))
  }
  function preview(i) {
    if (i === at || !options[i]) return
    at = i
    if (typeof options[i].value !== 'string') inner.show(item, options[i].value, {base: options[i].value, readonly: false})
    for (const [j, b] of [...list.children].entries()) b.setAttribute('aria-pressed', j === at)
    view.pressed(inner.active?.() ?? [])
  }
  function decide(i) { if (options[i]) api.commit(options[i].value) }
  return {
    show(it, value) {
      item = it; options = it.options ?? []; at = options.findIndex(o => JSON.stringify(o.value) === JSON.stringify(value))
      const first = value ?? (typeof options[0]?.value === 'string' ? null : options[0]?.value ?? null)
      inner.show(it, first, {base: first, readonly: false})
      if (at < 0 && first && !value) at = 0
      draw()
    },
    hide() { stage.replaceChildren(); list.replaceChildren() },
    key(ev, k) {
      if (!single && /^[1-9]$/.test(k)) { if (!ev.repeat) decide(k - 1); return true }
      if (k === 'ArrowDown' || k === 'ArrowUp') return preview(Math.max(0, Math.min(options.length - 1, at + (k === 'ArrowDown' ? 1 : -1)))), true
      return inner.key(ev, k)
    },
    accept() { at >= 0 && !inner.dirty() ? decide(at) : inner.value() === null ? view.say('choose an answer first') : api.commit(inner.value()) },
    skip() { view.next(); view.say('left for later') },
    value: () => inner.value(), active: () => inner.active?.() ?? [], dirty: () => inner.dirty(), pick: c => inner.pick(c), undo: () => inner.undo?.(), redo: () => inner.redo?.(),
    help: [single ? ['class key', 'decide for this class'] : ['1', '– 9: decide for this answer'], ['ArrowDown', 'look at the next answer (Enter decides for it)'], ...(inner.help ?? []).filter(([k]) => k !== 'Enter' && !(single && k === 'class key'))],
    destroy() { inner.destroy(); el.replaceChildren() },
  }
}
