// The same in a terminal, in Python and in JavaScript.

import { streamRoot, streamUrl, token } from './api.js'

const LANGUAGES = { curl: 'curl', python: 'Python', javascript: 'JavaScript', cli: 'everstream' }

export { LANGUAGES }

/** What can be done, for each language: `{ read, follow, append }` of a stream from an offset. */
export function snippet(language, action, { path, contentType, kind, offset }) {
  const facts = { path, url: streamUrl(path), contentType, kind, offset, hasToken: token.get() !== '' }
  return { curl, python, javascript, cli }[language](action, facts)
}

function sample(kind) {
  return kind === 'json' ? '{"hello": "world"}' : kind === 'text' ? 'hello\\n' : 'hello'
}

function curl(action, { url, contentType, kind, offset, hasToken }) {
  const auth = hasToken ? ` -H "Authorization: Bearer $TOKEN"` : ''
  if (action === 'append') {
    const quoted = kind === 'text' ? `$'${sample(kind)}'` : `'${sample(kind)}'`
    return `curl${auth} -X POST ${shell(url)} \\\n  -H ${shell(`Content-Type: ${contentType}`)} --data-binary ${quoted}`
  }
  const live = action === 'follow' ? '&live=sse' : ''
  return `curl${action === 'follow' ? ' -N' : ''}${auth} ${shell(`${url}?offset=${offset}${live}`)}`
}

function cli(action, { path, kind, offset, hasToken }) {
  // An address without a path would get the usual one.
  const isAtRoot = new URL(streamRoot()).pathname === '/'
  const server = ` \\\n  --url ${shell(streamRoot())}${isAtRoot ? ' --stream-root /' : ''}${hasToken ? ' --auth "Bearer $TOKEN"' : ''}`
  if (action === 'append') return `everstream write ${shell(path)} ${shell(sample(kind))}${kind === 'json' ? ' --json' : ''}${server}`
  return `everstream read ${shell(path)} --offset ${offset}${action === 'read' ? ' --no-follow' : ''}${server}`
}

function python(action, { url, kind, offset, hasToken }) {
  const auth = hasToken ? ', headers={"Authorization": f"Bearer {os.environ[\'TOKEN\']}"}' : ''
  const lines = hasToken ? ['import os', ''] : []
  if (action === 'append') {
    const value = kind === 'json' ? '{"hello": "world"}' : kind === 'text' ? '"hello\\n"' : 'b"hello"'
    lines.push('from everstream import DurableStream', '', `stream = DurableStream.connect(${JSON.stringify(url)}${auth})`, `stream.append(${value})`)
  } else {
    const [items, name] = { json: ['response.iter_json()', 'message'], text: ['response.iter_text()', 'text'], binary: ['response', 'data'] }[kind]
    lines.push(
      'from everstream import stream',
      '',
      `with stream(${JSON.stringify(url)}, offset=${JSON.stringify(offset)}, live=${action === 'follow' ? 'True' : 'False'}${auth}) as response:`,
      `    for ${name} in ${items}:`,
      `        print(${name})`,
    )
  }
  return lines.join('\n')
}

function javascript(action, { url, kind, offset, hasToken }) {
  const auth = hasToken ? "  headers: { Authorization: `Bearer ${process.env.TOKEN}` },\n" : ''
  const quoted = `'${url.replaceAll("'", "\\'")}'`
  if (action === 'append') {
    const value = kind === 'json' ? "{ hello: 'world' }" : kind === 'text' ? "'hello\\n'" : "new TextEncoder().encode('hello')"
    return `import { DurableStream } from 'everstream'\n\nconst stream = await DurableStream.connect({\n  url: ${quoted},\n${auth}})\nawait stream.append(${value})`
  }
  const iterate = kind === 'json' ? 'jsonStream' : kind === 'text' ? 'textStream' : 'bodyStream'
  return `import { stream } from 'everstream'\n\nconst response = await stream({\n  url: ${quoted},\n  offset: '${offset}',\n  live: ${action === 'follow'},\n${auth}})\nfor await (const item of response.${iterate}()) console.log(item)`
}

function shell(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
