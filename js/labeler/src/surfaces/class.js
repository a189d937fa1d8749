// One class an item, or several
import {h, same} from '../dom.js'

// How an item is shown: a picture (small ones enlarged in whole steps), a text in its own direction, or why it cannot be
export function content(item, {room = 420} = {}) {
  if (item.error) return h('div', {class: 'pnl-broken', role: 'img', 'aria-label': item.error}, h('span', {class: 'pnl-mark'}, '!'), h('span', {}, item.error))
  if (item.url) {
    const img = item.img && !item.img.isConnected ? item.img : new Image(), [w, hh] = item.shown ?? item.size, k = Math.max(1, Math.floor(Math.min(room * .7, 320) / Math.max(w, hh)))
    if (!img.src) img.src = item.url
    img.className = 'pnl-img' + (Math.max(w, hh) <= 64 ? ' pnl-pixels' : '')
    img.alt = `picture ${item.pos + 1}`
    img.draggable = false
    img.style.width = w * k + 'px'
    return img
  }
  return h('div', {class: 'pnl-text' + ((item.text ?? '').length < 160 ? ' pnl-short' : ''), dir: 'auto'}, item.text ?? '')
}

export function surface({el, task, api}) {
  const multi = task.kind === 'classes'
  let chosen = [], base = []
  const inOrder = list => task.classes.filter(c => list.includes(c))
  return {
    show(item, value, {proposal, base: b} = {}) {
      const v = value ?? proposal ?? null
      base = multi ? inOrder((b === undefined ? v : b) ?? []) : []
      chosen = v === null ? [] : multi ? v : [v]
      el.replaceChildren(content(item))
    },
    value: () => multi ? inOrder(chosen) : chosen[0] ?? null,
    active: () => chosen,
    dirty: () => multi && !same(inOrder(chosen), base),
    pick(name) {
      if (!multi) return api.commit(name)
      chosen = chosen.includes(name) ? chosen.filter(c => c !== name) : inOrder([...chosen, name])
      api.changed()
      api.announce(`${name} ${chosen.includes(name) ? 'on' : 'off'}`)
    },
    key: () => false,
    help: multi ? [['class key', 'switch the class on or off'], ['Enter', 'store what is on (nothing on: none of them)']] : [['class key', 'store the class, next item']],
    destroy() { el.replaceChildren() },
  }
}
