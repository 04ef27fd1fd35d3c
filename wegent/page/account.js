// Who is logged in, kept in the browser so that a reload needs no password.

const KEY = "wegent.account";

function storage() {
  try {
    return globalThis.localStorage;
  } catch {
    return null;
  }
}

/** → `{token, user: {id, user_name}}`, or null if nobody is logged in or the token has run out. */
export function loadAccount(now = Date.now()) {
  try {
    const account = JSON.parse(storage()?.getItem(KEY) ?? "null");
    const until = Date.parse(account?.expires_at);
    return account?.token && !(until <= now) ? account : null;
  } catch {
    return null;
  }
}

/** Keep what the login answered. */
export function saveAccount({ access_token: token, expires_at, user }) {
  const account = { token, expires_at, user };
  try {
    storage()?.setItem(KEY, JSON.stringify(account));
  } catch {
    // A full or forbidden store costs the comfort, not the login.
  }
  return account;
}

export function forgetAccount() {
  storage()?.removeItem(KEY);
}

/** What was being written to a task and not yet sent; a reload does not lose it. */
export const drafts = {
  load: (id) => globalThis.sessionStorage?.getItem(`wegent.draft.${id ?? "new"}`) ?? "",
  save(id, text) {
    const key = `wegent.draft.${id ?? "new"}`;
    if (text === "") {
      globalThis.sessionStorage?.removeItem(key);
    } else {
      globalThis.sessionStorage?.setItem(key, text);
    }
  },
};
