// The page holds nothing: a chat is what its stream says, from the beginning, and then as it goes on.
import { stream } from "everstream"

const list = document.querySelector("#chat")
const form = document.querySelector("#ask")
const template = document.querySelector("#entry")
const entries = new Map()

const chat = location.hash.slice(1) || crypto.randomUUID()
history.replaceState(null, "", `#${chat}`)
addEventListener("hashchange", () => location.reload())

const urls = await (await fetch(`/chats/${chat}`, { method: "PUT" })).json()
const conversation = await stream({ url: urls.chat, offset: "-1", live: true })
conversation.subscribeJson(({ items }) => {
  for (const { question, answer, ended } of items) {
    if (question) {
      void follow(show(question, answer), answer)
    } else {
      entries.get(answer)?.setState(ended)
    }
  }
})

/** Shows a question with an answer that is still empty. */
function show(question, answer) {
  const element = template.content.cloneNode(true).firstElementChild
  element.querySelector(".question").textContent = question
  const text = element.querySelector(".answer").appendChild(new Text())
  const setState = (state) => {
    element.dataset.state = state
    element.querySelector(".state").textContent = state
  }
  element.querySelector(".stop").onclick = () => fetch(`/answers/${answer}`, { method: "DELETE" })
  setState("writing")
  list.append(element)
  const entry = { text, setState }
  entries.set(answer, entry)
  return entry
}

/** Writes an answer down as it comes. Its stream is closed when no more comes; how it ended is told by the chat. */
async function follow({ text }, answer) {
  const response = await stream({ url: urls.answers + answer, offset: "-1", live: true })
  response.subscribeText((chunk) => {
    const following = innerHeight + scrollY >= document.body.scrollHeight - 40
    text.appendData(chunk.text)
    if (following) {
      scrollTo(0, document.body.scrollHeight)
    }
  })
}

form.onsubmit = async (event) => {
  event.preventDefault()
  const question = form.question.value.trim()
  form.reset()
  await fetch(`/chats/${chat}/answers`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ question }),
  })
  scrollTo(0, document.body.scrollHeight)
}
form.onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault()
    form.requestSubmit()
  }
}
