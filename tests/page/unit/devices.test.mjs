import assert from "node:assert/strict";
import { test } from "node:test";

import { DeviceList, isThere, wordsFor } from "../../../wegent/page/devices.js";

const LAPTOP = { device_id: "a", name: "Laptop", status: "online", slot_used: 0, slot_max: 5, running_tasks: [], is_default: false };
const TOWER = { device_id: "b", name: "Tower", status: "offline", slot_used: 0, slot_max: 2, running_tasks: [], is_default: true };

function list(...items) {
  const devices = new DeviceList();
  devices.put(items);
  return devices;
}

test("devices that are there come first", () => {
  const devices = list(TOWER, LAPTOP, { ...LAPTOP, device_id: "c", name: "Desk" });
  assert.deepEqual(devices.ordered().map(({ name }) => name), ["Desk", "Laptop", "Tower"]);
});

test("an event changes what it tells of, and leaves the rest", () => {
  const devices = list(LAPTOP);
  const running = [{ task_id: 7, subtask_id: 9, title: "Build", status: "RUNNING" }];
  assert.equal(devices.onEvent("device:slot_update", { device_id: "a", slot_used: 1, slot_max: 4, running_tasks: running }), "changed");
  assert.equal(devices.onEvent("device:offline", { device_id: "a", status: "offline" }), "changed");
  assert.deepEqual(devices.get("a"), { ...LAPTOP, status: "offline", slot_used: 1, slot_max: 4, running_tasks: running });
});

test("a device that is not known is to be read, and events of tasks are not for here", () => {
  const devices = list(LAPTOP);
  assert.equal(devices.onEvent("device:online", { device_id: "x", name: "New", status: "online" }), "unknown");
  assert.equal(devices.get("x"), null);
  assert.equal(devices.onEvent("task:status", { task_id: 1, status: "RUNNING" }), null);
});

test("the default is preferred only while it is there", () => {
  const devices = list(LAPTOP, TOWER);
  assert.equal(devices.preferred(), null);
  devices.onEvent("device:online", { device_id: "b", status: "online" });
  assert.equal(devices.preferred().device_id, "b");
});

test("an offline device tells of its slots only while it holds some", () => {
  assert.equal(wordsFor(LAPTOP), "online · 0 of 5");
  assert.equal(wordsFor(TOWER), "offline");
  assert.equal(wordsFor({ ...TOWER, slot_used: 1 }), "offline · 1 of 2");
  assert.equal(isThere({ ...TOWER, status: "busy" }), true);
});
