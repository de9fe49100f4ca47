// The state folder: what was pinned at first contact, the last known good policy as it was signed, and its lease.

import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";

const files = { pins: "pins.json", policy: "policy.jose", lease: "lease.json" };

export class Disk {
  constructor(folder) {
    this.folder = folder;
  }

  /** Reads a file; undefined if there is none. */
  async read(name) {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    try {
      return await readFile(join(this.folder, files[name]), "utf8");
    } catch (error) {
      if (error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Replaces a file as a whole or not at all, also when the machine loses power. */
  async write(name, text) {
    const path = join(this.folder, files[name]);
    const file = await open(`${path}.tmp`, "w", 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.tmp`, path);
  }

  /** Forgets the policy. The pins stay: a gateway that is let in again still knows whom it trusts. */
  async wipe() {
    for (const name of ["lease", "policy"]) await rm(join(this.folder, files[name]), { force: true });
  }
}
