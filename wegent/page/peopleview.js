// The people of the open chat as they show: who is there, a field to invite somebody, and a way to leave.

import { el, icon, setText } from "./dom.js";

export class PeoplePanel {
  /** `parts`: the elements `panel`, `count`, `list`, `form`, `field`, `leave`; `hooks`: `invite(name)`, `remove(member)`, `leave()`. */
  constructor(parts, hooks) {
    Object.assign(this, parts, { hooks, shown: "" });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#invite();
    });
    this.leave.addEventListener("click", () => hooks.leave());
    document.addEventListener("click", (event) => this.panel.contains(event.target) || this.panel.removeAttribute("open"));
    this.panel.addEventListener("keydown", (event) => event.key === "Escape" && this.panel.removeAttribute("open"));
  }

  #invite() {
    const name = this.field.value.trim();
    if (name !== "") {
      this.field.value = "";
      this.hooks.invite(name);
    }
  }

  /** Draw, if anything is other than before. `isShown`: a chat is open; `isOwner`: it is the person's own. */
  draw(state) {
    const wanted = JSON.stringify(state);
    if (wanted !== this.shown) {
      this.shown = wanted;
      this.#draw(state);
    }
  }

  #draw({ members, userId, isOwner, isShown }) {
    this.panel.hidden = !isShown;
    setText(this.count, members.length > 1 ? String(members.length) : "");
    this.list.replaceChildren(...members.map((member) => this.#entry(member, userId, isOwner)));
    this.form.hidden = !isOwner;
    this.leave.hidden = isOwner || members.length === 0;
  }

  #entry(member, userId, isOwner) {
    const label = `Remove ${member.user_name}`;
    const remove = isOwner && member.user_id !== userId
      ? el("button", { class: "round tiny", type: "button", title: label, "aria-label": label, on: { click: () => this.hooks.remove(member) } }, icon("cross"))
      : null;
    const name = member.user_id === userId ? `${member.user_name} (you)` : member.user_name;
    const letter = el("span", { class: "avatar", "aria-hidden": "true" }, member.user_name.slice(0, 1).toUpperCase());
    return el("li", {}, letter, el("span", { class: "title" }, name), el("span", { class: "note" }, member.role === "owner" ? "owner" : ""), remove);
  }
}
