// Labels that are not yet stored: in memory and in the browser's localStorage, one entry each, so that tabs do not overwrite each other
export class Queue {
  constructor(name, onchange) {
    this.prefix = `pretrain-notes/labels/${name}/`
    this.drafts = `pretrain-notes/drafts/${name}/`
    this.list = new Map()
    this.kept = true                                  // false: localStorage is full or forbidden, and only this page has them
    this.onchange = onchange
    this.rescan()
    try {
      this.channel = new BroadcastChannel(this.prefix)
      this.channel.onmessage = ({data}) => {          // another view's labels are its own to send; if it cannot, they are ours
        if (data.gone) { this.forget(data.gone); onchange() } else setTimeout(() => { this.rescan(); onchange() }, 3000)
      }
    } catch { this.channel = null }
  }
  close() { this.channel?.close() }
  get size() { return this.list.size }
  events() { return [...this.list.values()].sort((a, b) => a.t - b.t || a.n - b.n) }

  rescan() {                                          // what an earlier page, or another one, has left
    try {
      for (let i = 0; i < localStorage.length; i++) {
        const k = localStorage.key(i)
        if (!k?.startsWith(this.prefix) || this.list.has(k.slice(this.prefix.length))) continue
        try { const e = JSON.parse(localStorage.getItem(k)); if (e?.uuid) this.list.set(e.uuid, {...e, old: true}) } catch { /* not ours */ }
      }
    } catch { this.kept = false }
  }
  add(events) {
    for (const e of events) {
      this.list.set(e.uuid, e)
      try { localStorage.setItem(this.prefix + e.uuid, JSON.stringify(e)) } catch { this.kept = false }
    }
    this.channel?.postMessage({added: true})
    this.onchange()
  }
  forget(uuids) {
    for (const u of uuids) {
      this.list.delete(u)
      try { localStorage.removeItem(this.prefix + u) } catch { /* it was never there */ }
    }
    if (!this.list.size) this.kept = true
  }
  done(uuids) {
    const gone = uuids.filter(u => this.list.has(u))
    if (!gone.length) return
    this.forget(gone)
    this.channel?.postMessage({gone})
    this.onchange()
  }

  draft(item, value) {                                // an answer that was begun; undefined reads it, null forgets it
    const k = this.drafts + item
    try {
      if (value === undefined) return JSON.parse(localStorage.getItem(k) ?? 'null')
      if (value === null) localStorage.removeItem(k); else localStorage.setItem(k, JSON.stringify(value))
    } catch { return null }
  }
}
