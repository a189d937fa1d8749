// Labels that are not yet stored: in memory and in the browser's localStorage, one entry each, so that tabs do not overwrite each other.
// Entries of other versions of the same task ("strays") are found too; what becomes of them is for the annotator to say.
const enc = encodeURIComponent

export class Queue {
  constructor({store, task, version, annotator, definition, versions}, {onchange, onheard}) {
    Object.assign(this, {task, version, definition, versions, onchange})
    this.root = `pretrain-notes/labels/${enc(store)}/`
    this.who = enc(annotator)
    this.prefix = `${this.root}${enc(version)}/${this.who}/`
    this.spot = v => `pretrain-notes/tasks/${enc(store)}/${enc(v)}/${this.who}`        // what a version of the task is, for when it is gone from the kernel
    this.drafts = `pretrain-notes/drafts/${enc(store)}/${enc(task)}/${this.who}/`
    this.list = new Map()
    this.strays = new Map()
    this.drafted = new Set()                          // ids of items with an answer that was begun
    this.kept = true                                  // false: localStorage is full or forbidden, and only this page has them
    this.rescan()
    try {
      this.channel = new BroadcastChannel(this.drafts)
      this.channel.onmessage = ({data}) => {          // another view's labels are its own to send; if it cannot, they are ours
        if (data.gone) { this.forget(data.gone); onchange(); if (data.acks) onheard(data.acks) } else setTimeout(() => { this.rescan(); onchange() }, 3000)
      }
    } catch { this.channel = null }
  }
  close() {
    this.channel?.close()
    if (!this.list.size) try { localStorage.removeItem(this.spot(this.version)) } catch { /* it was never there */ }
  }
  get size() { return this.list.size }
  events() { return [...this.list.values()].sort((a, b) => a.t - b.t || a.n - b.n) }

  rescan() {                                          // what an earlier page, or another one, has left
    try {
      for (let i = 0; i < localStorage.length; i++) {
        const k = localStorage.key(i)
        if (k?.startsWith(this.drafts)) this.drafted.add(k.slice(this.drafts.length))
        if (!k?.startsWith(this.root)) continue
        const [version, who, uuid] = k.slice(this.root.length).split('/'), ours = k.startsWith(this.prefix)
        if (who !== this.who || !uuid || this.list.has(uuid) || this.strays.has(uuid)) continue
        try {
          const e = JSON.parse(localStorage.getItem(k)), of = decodeURIComponent(version)
          if (!e?.uuid) continue
          if (ours) this.list.set(uuid, {...e, old: true})
          else if (e.task === undefined ? this.versions.includes(of) : e.task === this.task) this.strays.set(uuid, {...e, old: true, of, key: k})
        } catch { /* not ours */ }
      }
    } catch { this.kept = false }
  }
  add(events) {
    for (const e of events) {
      this.list.set(e.uuid, e)
      try { localStorage.setItem(this.prefix + e.uuid, JSON.stringify({...e, task: this.task})) } catch { this.kept = false }
    }
    if (!this.told) try { localStorage.setItem(this.spot(this.version), JSON.stringify(this.definition)); this.told = true } catch { this.told = true }
    this.channel?.postMessage({added: true})
    this.onchange()
  }
  forget(uuids) {
    for (const u of uuids) {
      const key = (this.list.get(u) ?? this.strays.get(u))?.key ?? this.prefix + u
      this.list.delete(u); this.strays.delete(u)
      try { localStorage.removeItem(key) } catch { /* it was never there */ }
    }
    if (!this.list.size) this.kept = true
  }
  done(uuids, acks) {
    const gone = uuids.filter(u => this.list.has(u) || this.strays.has(u))
    if (!gone.length) return
    this.forget(gone)
    this.channel?.postMessage({gone, acks})
    this.onchange()
  }

  adopt(uuids) {                                      // send strays after all, each under the version it was given to
    for (const u of uuids) if (this.strays.has(u)) { this.list.set(u, this.strays.get(u)); this.strays.delete(u) }
    return this.events().filter(e => uuids.includes(e.uuid))
  }
  defined(version) {                                  // what that version was, if this browser knows
    try { return JSON.parse(localStorage.getItem(this.spot(version)) ?? 'null') } catch { return null }
  }

  draft(item, value) {                                // an answer that was begun; undefined reads it, null forgets it
    try {
      if (value === undefined) return this.drafted.has(item) ? JSON.parse(localStorage.getItem(this.drafts + item) ?? 'null') : null
      if (value === null) { if (this.drafted.delete(item)) localStorage.removeItem(this.drafts + item) }
      else { this.drafted.add(item); localStorage.setItem(this.drafts + item, JSON.stringify(value)) }
    } catch { return null }
  }
}
