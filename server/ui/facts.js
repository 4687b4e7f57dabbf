// What the server knows of a stream: a line of it always, all of it unfolded.

import { onControl, onStream } from './api.js'
import { copy, h } from './dom.js'
import * as format from './format.js'
import { positionOf } from './offsets.js'

export class Facts {
  #path
  #streams
  #relations = null
  #line = h('span', { class: 'fact-line' })
  #table = h('dl', { class: 'facts' })
  /** From the answer to HEAD. */
  contentType = null
  kind = null
  offset = null
  closed = false
  #lifetime = ''
  #mayExpire = false
  #etag = ''
  #incarnation = ''

  constructor(path, streams) {
    this.#path = path
    this.#streams = streams
    this.element = h('details', { class: 'fact-panel' }, h('summary', {}, this.#line), this.#table)
    this.element.addEventListener('toggle', () => this.#loadRelations())
  }

  /** Asks for everything anew. */
  async load() {
    const { headers } = await onStream('HEAD', this.#path)
    this.contentType = headers.get('content-type') ?? 'application/octet-stream'
    this.kind = format.kindOf(this.contentType)
    this.offset = headers.get('stream-next-offset')
    this.closed = headers.get('stream-closed') === 'true'
    const ttl = headers.get('stream-ttl')
    const expiresAt = headers.get('stream-expires-at')
    this.#mayExpire = ttl !== null || expiresAt !== null
    this.#lifetime = ttl ? `${format.seconds(Number(ttl))} after its last use` : expiresAt ? format.time(expiresAt) : 'until it is deleted'
    this.#etag = headers.get('etag') ?? ''
    this.#incarnation = headers.get('stream-incarnation') ?? ''
    this.#show()
    await this.#loadRelations()
  }

  /** Forks and producers, where the token may know. */
  async #loadRelations() {
    if (!this.element.open || this.offset === null) return
    try {
      const answer = await onControl('GET', `streams/${this.#path.split('/').map(encodeURIComponent).join('/')}`)
      this.#relations = await answer.json()
    } catch (error) {
      this.#relations = { refused: error.message }
    }
    this.#show()
  }

  #show() {
    const line = [
      h('span', { class: `type ${this.kind}` }, format.shortType(this.contentType)),
      h('span', {}, format.bytes(positionOf(this.offset))),
      this.closed ? h('span', { class: 'tag' }, 'closed') : null,
      this.#mayExpire ? h('span', { class: 'tag' }, `expires ${this.#lifetime}`) : null,
      h('span', { class: 'mono muted offset' }, this.offset),
    ]
    this.#line.replaceChildren(...line.filter((part) => part !== null))
    const rows = [
      ['Offset', this.offset],
      ['Content type', this.contentType],
      ['Lives', this.#lifetime],
      ['Closed', this.closed ? 'yes' : 'no'],
      ['ETag', this.#etag],
      ['Incarnation', this.#incarnation],
      ...this.#relationRows(),
    ]
    this.#table.replaceChildren(
      ...rows.flatMap(([name, value]) => [
        h('dt', {}, name),
        h('dd', {}, typeof value === 'string' ? h('button', { class: 'copy-value mono', title: 'Copy', onclick: () => copy(value, name) }, value) : value),
      ]),
    )
  }

  #relationRows() {
    const relations = this.#relations
    if (relations === null) return []
    if (relations.refused) return [['Forks, producers', relations.refused]]
    const forks = this.#streams.forksOf(this.#path).map((fork) => link(fork.path))
    const producers = relations.producers.map(({ id, epoch, seq }) => h('span', { class: 'mono' }, `${id} (epoch ${epoch}, seq ${seq})`))
    return [
      ['Created', format.time(relations.createdAt)],
      ...(relations.forkedFrom ? [['Forked from', link(relations.forkedFrom, ` at ${relations.forkOffset}`)]] : []),
      ['Forks', h('span', { class: 'list' }, format.number(relations.forks), ...forks)],
      ['Producers', h('span', { class: 'list' }, format.number(relations.producerCount), ...producers)],
    ]
  }
}

function link(path, text = '') {
  return h('span', {}, h('a', { href: `#/s/${encodeURIComponent(path)}`, class: 'mono' }, path), text)
}
