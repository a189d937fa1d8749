// A library is made at home in its own element: what it would hear of the rest of the notebook is left out, apart from what it needs
export function guest(make, keep = []) {
  const listen = document.addEventListener, Observer = window.MutationObserver, end = new AbortController()
  document.addEventListener = (type, f, o) => { if (keep.includes(type)) listen.call(document, type, f, {...typeof o === 'object' ? o : {capture: !!o}, signal: end.signal}) }
  window.MutationObserver = class { observe() {} disconnect() {} takeRecords() { return [] } }
  try { return [make(), () => end.abort()] } finally { delete document.addEventListener; window.MutationObserver = Observer }
}
