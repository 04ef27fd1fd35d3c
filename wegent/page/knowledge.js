// Which knowledge base is searched for the messages that are sent.

import { el } from "./dom.js";

export class KnowledgeChoice {
  /** `parts`: the elements `field`, `select`. Without any base there is nothing to choose. */
  constructor(parts) {
    Object.assign(this, parts);
  }

  setBases(bases) {
    const chosen = this.select.value;
    const options = bases.filter(({ documents }) => documents > 0).map(({ id, name }) => el("option", { value: id }, name));
    this.select.replaceChildren(el("option", { value: "" }, "No knowledge base"), ...options);
    this.select.value = options.some((option) => option.value === chosen) ? chosen : "";
    this.field.hidden = options.length === 0;
  }

  /** What is to be looked up for a message: nothing, or the base that is chosen. */
  get sources() {
    const id = Number(this.select.value);
    return id > 0 ? [{ type: "knowledge_base", id, name: this.select.selectedOptions[0].textContent }] : [];
  }
}
