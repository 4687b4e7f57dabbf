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
      const entry = show(question, answer)
      entries.set(answer, entry)
      void follow(entry, answer)
    } else {
      void entries.get(answer)?.end(ended)
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

  // How it ended is told by the chat, and is shown once all of the text is.
  const { promise: whole, resolve: setWhole } = Promise.withResolvers()
  const end = (state) => whole.then(() => setState(state))
  return { text, setWhole, end }
}

/** Writes an answer down as it comes. Its stream is closed when no more comes. */
async function follow({ text, setWhole }, answer) {
  const response = await stream({ url: urls.answers + answer, offset: "-1", live: true })
  response.subscribeText((chunk) => {
    const following = innerHeight + scrollY >= document.body.scrollHeight - 40
    text.appendData(chunk.text)
    if (following) {
      scrollTo(0, document.body.scrollHeight)
    }
  })
  await response.closed
  setWhole()
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
// Before, a click would load the page anew with the question in its address.
form.querySelector("button").disabled = false
