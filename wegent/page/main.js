// Puts the page together: account, connection, lists, and the chat that the address names.

import { forgetAccount, loadAccount, saveAccount } from "./account.js";
import { getTask, listDevices, listTasks, listTeams, login, preferDevice, removeDevice, socketUrl, uploadFile } from "./api.js";
import { Chat } from "./chat.js";
import { DeviceList } from "./devices.js";
import { DevicePanel } from "./devicesview.js";
import { People } from "./people.js";
import { PeoplePanel } from "./peopleview.js";
import { Sidebar } from "./sidebar.js";
import { Connection } from "./socket.js";
import { TaskList } from "./tasklist.js";
import { Work } from "./work.js";
import { ConnectionView, DrawerView, LoginView, byId, toast } from "./view.js";
import { setText } from "./dom.js";

const HIDDEN_LONG_MS = 5_000;
const LIST_AGAIN_MS = 300;

class Page {
  constructor() {
    this.account = null;
    this.tasks = new TaskList();
    this.devices = new DeviceList();
    this.isListed = false;
    this.listing = null;
    this.hiddenAt = null;
    this.connection = new Connection(socketUrl(), () => this.account.token, {
      state: (state, detail) => this.#onConnection(state, detail),
      event: (name, data) => this.#onEvent(name, data),
      unauthorized: (reason) => this.#logOut(reason),
    });
    this.chat = new Chat(this.connection, {
      created: (id) => this.#created(id),
      userId: () => this.account?.user?.id,
      titleOf: (id) => this.tasks.get(id)?.title,
      teamOf: (id) => this.tasks.get(id)?.team_id ?? null,
      deviceOf: (id) => this.#deviceOf(id),
      upload: (file) => uploadFile(this.account?.token, file),
      download: (file) => this.work.download(file),
      correction: (action, row) => this.work.correction(action, row),
      drawn: () => this.#drawPeople(),
    });
    this.people = new People({
      call: (work) => this.#call(work),
      taskOf: (id) => this.tasks.get(id),
      changed: () => this.#drawPeople(),
      failed: (message) => toast(message),
      isSeen: () => document.visibilityState === "visible",
    });
    const people = { panel: byId("people"), count: byId("people-count"), list: byId("people-list"), form: byId("invite"), field: byId("invite-name"), leave: byId("leave") };
    this.peoplePanel = new PeoplePanel(people, {
      invite: (name) => this.people.invite(name), remove: (member) => this.people.remove(member), leave: () => this.people.leave(),
    });
    this.sidebar = new Sidebar({ list: byId("task-list"), empty: byId("no-tasks"), more: byId("more-tasks") });
    const panel = { list: byId("device-list"), count: byId("device-count"), none: byId("no-devices"), command: byId("device-command") };
    this.devicePanel = new DevicePanel(panel, {
      prefer: (device) => this.#changeDevices((token) => preferDevice(token, device.device_id)),
      remove: (device) => this.#changeDevices((token) => removeDevice(token, device.device_id)),
    });
    this.work = new Work({ call: (work) => this.#call(work), token: () => this.account?.token, chat: this.chat });
    this.drawer = new DrawerView();
    this.connectionView = new ConnectionView(() => this.#reconnect());
    this.loginView = new LoginView(async (name, password) => this.#logIn(saveAccount(await login(name, password))));
    this.#listen();
  }

  #listen() {
    byId("logout").addEventListener("click", () => this.#logOut(""));
    byId("new-chat").addEventListener("click", () => {
      window.location.hash = "#/new";
      this.drawer.set(false);
      this.chat.composer.focus();
    });
    byId("more-tasks").addEventListener("click", () => this.#readTasks(this.tasks.cursor));
    byId("task-list").addEventListener("click", () => this.drawer.set(false));
    window.addEventListener("hashchange", () => this.#route());
    window.addEventListener("storage", () => loadAccount() === null && this.#logOut("You logged out in another window"));
    window.addEventListener("online", () => this.#recover());
    document.addEventListener("visibilitychange", () => this.#onVisibility());
  }

  start() {
    const account = loadAccount();
    if (account === null) {
      this.loginView.open("");
    } else {
      this.#logIn(account);
    }
  }

  // --- account --------------------------------------------------------------------------------------------------------

  #logIn(account) {
    this.account = account;
    setText(byId("user-name"), account.user?.user_name ?? "");
    setText(byId("user-avatar"), (account.user?.user_name ?? "?").slice(0, 1).toUpperCase());
    this.loginView.close();
    this.connection.start();
    this.#readLists();
    this.#route();
  }

  #logOut(reason) {
    if (this.account === null) {
      return;
    }
    this.connection.stop();
    this.chat.reset();
    this.account = null;
    this.tasks = new TaskList();
    this.devices = new DeviceList();
    this.isListed = false;
    forgetAccount();
    this.loginView.open(reason && `${reason}. Please log in again.`);
  }

  // --- connection -----------------------------------------------------------------------------------------------------

  #onConnection(state, detail) {
    this.connectionView.update(state, detail, this.connection.retryAt);
    this.chat.session?.onSocket(state);
    if (state === "open" && this.wasOpen) {
      this.#readLists();
    }
    this.wasOpen ||= state === "open";
    if (state === "stopped" && detail) {
      toast(detail);
    }
  }

  #onEvent(name, data) {
    this.chat.session?.onEvent(name, data);
    this.people.onEvent(name, data);
    if (name === "task:updated" && data.deleted && data.task_id === this.chat.id) {
      this.#lost();
    }
    if (this.chat.onEvent(name, data) || this.work.onEvent(name)) {
      return;
    }
    const ofDevice = this.devices.onEvent(name, data);
    if (ofDevice === "unknown") {
      this.#readDevices();
    } else if (ofDevice === "changed") {
      this.#drawDevices();
    } else if (name === "sync:required" && data.scope === `task:${this.chat.id}`) {
      this.chat.session.recover();
    } else if (name === "sync:required") {
      this.#readLists();
    } else if (this.tasks.onEvent(name, data)) {
      this.#drawLists();
    } else if (name === "task:status") {
      this.#readTasksSoon();
    }
  }

  #reconnect() {
    this.connection.start();
    this.connection.hurry();
  }

  #onVisibility() {
    if (document.visibilityState === "hidden") {
      this.hiddenAt = Date.now();
      return;
    }
    this.#drawPeople();
    if (this.hiddenAt !== null && Date.now() - this.hiddenAt >= HIDDEN_LONG_MS) {
      this.#recover();
    }
  }

  /** A reason to believe that something was missed: is somebody there, and what is new. */
  async #recover() {
    if (this.account === null) {
      return;
    }
    this.connection.hurry();
    try {
      await this.connection.probe();
      await this.chat.session?.recover();
    } catch {
      // The connection is on its way back, and recovers the task when it is there.
    }
  }

  // --- lists ----------------------------------------------------------------------------------------------------------

  #readLists() {
    this.#readTasks(null);
    this.#call(async ({ token }) => {
      const teams = await listTeams(token);
      return () => this.chat.setTeams(teams);
    });
    this.#readDevices();
    this.people.read();
    this.work.read();
  }

  #readDevices() {
    this.#call(async ({ token }) => {
      const devices = await listDevices(token);
      return () => {
        this.devices.put(devices);
        this.#drawDevices();
      };
    });
  }

  #drawDevices() {
    this.devicePanel.draw(this.devices);
    this.chat.setDevices(this.devices);
  }

  #changeDevices(change) {
    this.#call(async ({ token }) => {
      await change(token);
      return () => this.#readDevices();
    });
  }

  /** The name of the device that a task runs on; null where it runs at the server. */
  #deviceOf(taskId) {
    const id = this.tasks.get(taskId)?.device_id ?? null;
    return id && (this.devices.get(id)?.name ?? id);
  }

  #readTasks(cursor) {
    this.#call(async ({ token }) => {
      const page = await listTasks(token, cursor);
      return () => {
        this.tasks.put(page, cursor === null);
        this.isListed = true;
        this.#drawLists();
        this.chat.redraw();
        this.#readTask();
      };
    });
  }

  #readTasksSoon() {
    this.listing ??= setTimeout(() => {
      this.listing = null;
      this.#readTasks(null);
    }, LIST_AGAIN_MS);
  }

  /** Call the server for the account there is now; if that has changed when the answer comes, it counts no more. */
  async #call(read) {
    const { account } = this;
    if (account === null) {
      return;
    }
    try {
      const use = await read(account);
      if (this.account === account) {
        use();
      }
    } catch (error) {
      if (this.account === account && error.status === 401) {
        this.#logOut(error.message);
      } else if (this.account === account && error.status > 0 && error.status !== 404) {
        toast(error.message);
      } else if (error.status === undefined) {
        throw error;
      }
    }
  }

  #drawLists() {
    this.sidebar.draw(this.tasks, this.chat.id);
    this.chat.draw();
  }

  /** The open chat is deleted, or the person is not in it any more. */
  #lost() {
    toast("This chat is no more, or you are not in it any more");
    window.location.hash = "#/new";
  }

  #drawPeople() {
    const { id } = this.chat;
    const userId = this.account?.user?.id;
    this.people.open(id);
    this.peoplePanel.draw({ members: this.people.members, userId, isOwner: this.people.isOwnedBy(userId), isShown: id !== null });
    this.people.see(this.chat.newestMessageId());
  }

  // --- address --------------------------------------------------------------------------------------------------------

  #route() {
    if (this.account === null) {
      return;
    }
    const match = /^#\/task\/(\d{1,16})$/.exec(window.location.hash);
    this.chat.open(match ? Number(match[1]) : null);
    this.#drawLists();
    this.#readTask();
  }

  /** A task that is further down than the list was read is read by itself, for its title and team. */
  #readTask() {
    const { id } = this.chat;
    if (this.isListed && id !== null && this.tasks.get(id) === null) {
      this.#call(async ({ token }) => {
        const task = await getTask(token, id);
        return () => {
          this.tasks.put({ items: [task], next_cursor: this.tasks.cursor }, false);
          this.#drawLists();
        };
      });
    }
  }

  #created(id) {
    window.history.replaceState(null, "", `#/task/${id}`);
    this.#drawLists();
    if (this.tasks.get(id) === null) {
      this.#readTasksSoon();
    }
  }
}

new Page().start();
