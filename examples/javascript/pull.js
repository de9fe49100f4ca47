// Follows the policy of a control plane: pulls, verifies, swaps, keeps the last known good one on disk, and says when
// there is none to decide by. docs/policy.md, "GET /v1/policy", says why each step is there.

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { ControlPlane } from "./controlplane.js";
import { Policy } from "./decide.js";
import { Disk } from "./disk.js";
import { readDocument } from "./document.js";
import { open, openKeySet } from "./keys.js";

/** How far the clock may have been set back over a restart, in milliseconds. */
const clockStep = 60_000;

export class Follower {
  #plane;
  #disk;
  #options;
  #pins; // {issuer, audience, root, version, keys}, from the first contact on
  #active; // {policy, document, digest, etag}
  #lease = { until: -Infinity };
  #revoked = false;
  #keysUntil = 0;
  #received = 0;
  #rejected;

  constructor({ stateFolder, instance, rootKey, wait = 50, log = () => {}, ...credential }) {
    this.#plane = new ControlPlane(credential);
    this.#disk = new Disk(stateFolder);
    this.#options = { instance, rootKey, wait, log };
  }

  /** The policy to decide by. Where there is none it throws, with the code to say; the only decision then is no. */
  current() {
    const none = (code) => Object.assign(new Error(`there is no policy: ${code}`), { code });
    if (this.#revoked) throw none("gateway_revoked");
    if (!this.#active) throw none("no_policy");
    if (this.leaseLeft() <= 0) throw none("policy_expired");
    return this.#active;
  }

  /** Seconds for which the policy may still be used, by a clock that nobody sets. */
  leaseLeft() {
    return (this.#lease.until - performance.now()) / 1000;
  }

  /** Starts from the last known good policy, if it still verifies. */
  async start() {
    const [pins, jws, lease] = await Promise.all(["pins", "policy", "lease"].map((name) => this.#disk.read(name)));
    if (!pins) return;
    this.#pins = JSON.parse(pins);
    if (!jws) return;
    try {
      const saved = JSON.parse(lease ?? "{}");
      const found = this.#read(jws);
      const { epoch, revision, max_stale_seconds } = found.document;
      const age = Date.now() - saved.renewed;
      const ofThis = saved.epoch === epoch && saved.revision === revision; // else it stopped between writing the two
      this.#active = { ...found, etag: ofThis ? saved.etag : undefined };
      this.#received = revision;
      if (ofThis && age >= -clockStep) this.#renew(Math.min(saved.seconds, max_stale_seconds) - Math.max(age, 0) / 1000);
    } catch (error) {
      this.#options.log(`the policy on disk is not usable: ${error.message}`);
    }
  }

  /** Follows until the signal aborts. */
  async follow(signal) {
    const reporting = this.#keepReporting(signal);
    for (let attempt = 0; !signal.aborted; ) {
      let pause = 0;
      try {
        await this.#refreshKeys();
        await this.#pull(signal);
        attempt = 0;
      } catch (error) {
        if (signal.aborted) break;
        this.#options.log(`the policy was not pulled: ${error.message}`);
        if (error.code === "gateway_revoked") {
          await this.#revoke();
          pause = 60;
        } else {
          pause = Math.max(error.retryAfter ?? 0, jitter(Math.min(2 ** attempt++, 30)));
        }
      }
      await sleep(pause * 1000, undefined, { signal }).catch(() => {});
    }
    await reporting;
  }

  async #pull(signal) {
    const active = this.#active;
    const { wait } = this.#options;
    const headers = { Accept: "application/jose+json", Prefer: `wait=${wait}` };
    if (active?.etag) headers["If-None-Match"] = active.etag;
    const response = await this.#plane.send("/v1/policy", { headers, signal, seconds: wait + 15 });
    const lease = Number(response.headers.get("Policy-Lease")); // without it the answer renews nothing
    if (response.status === 304) {
      if (strong(response.headers.get("ETag")) !== strong(active?.etag)) throw new Error("this 304 is not about the policy that we hold");
      if (lease > 0) await this.#keep(lease);
      return;
    }
    const jws = await response.text();
    let next;
    try {
      await this.#learnKeys(jws);
      next = this.#read(jws);
      this.#mustNotBeOlder(next);
    } catch (error) {
      this.#rejected = { revision: Number(response.headers.get("Policy-Revision")), reason: error.message };
      this.#received = Math.max(this.#received, this.#rejected.revision);
      this.#report();
      throw error;
    }
    this.#active = { ...next, etag: response.headers.get("ETag") }; // the swap: from here on it decides
    [this.#revoked, this.#rejected, this.#received] = [false, undefined, next.document.revision];
    this.#options.log(`revision ${next.document.revision} of epoch ${next.document.epoch} is active`);
    this.#report();
    await this.#disk.write("policy", jws);
    if (lease > 0) await this.#keep(lease);
  }

  /** Verifies with the pinned keys and reads. */
  #read(jws) {
    const { keys, issuer, audience } = this.#pins;
    const bytes = open(jws, "countersign-policy", ({ kid }) => keys.find((key) => key.kid === kid));
    const document = readDocument(bytes);
    if (document.issuer !== issuer) throw new Error("the policy is of another control plane than at first contact");
    if (document.audience !== audience) throw new Error("the policy is of another audience than at first contact");
    return { policy: new Policy(document), document, digest: createHash("sha256").update(bytes).digest("hex") };
  }

  /** Older never wins: neither an older epoch, nor an older revision, nor another text for the same revision. */
  #mustNotBeOlder({ document: { epoch, revision }, digest }) {
    const active = this.#active;
    if (!active || epoch > active.document.epoch) return;
    if (epoch < active.document.epoch || revision < active.document.revision) throw new Error(`revision ${revision} of epoch ${epoch} is older than what runs`);
    if (revision === active.document.revision && digest !== active.digest) throw new Error(`revision ${revision} says something else than it did`);
  }

  /** At first contact, pins the root and whose policy this is; later, asks for a key that we have not met. */
  async #learnKeys(jws) {
    const { kid } = JSON.parse(Buffer.from(jws.split(".")[0], "base64url"));
    if (this.#pins?.keys.some((key) => key.kid === kid)) return;
    const { root, issuer, version, keys } = await this.#keySet(this.#pins?.root ?? this.#options.rootKey);
    if (this.#pins) return this.#pin({ ...this.#pins, version, keys });
    const document = readDocument(open(jws, "countersign-policy", (header) => keys.find((key) => key.kid === header.kid)));
    await this.#pin({ issuer, audience: document.audience, root, version, keys });
  }

  /** Asks for the keys every hour, so that one which was withdrawn is not believed for ever. */
  async #refreshKeys() {
    if (!this.#pins || performance.now() < this.#keysUntil) return;
    this.#keysUntil = performance.now() + jitter(3600) * 1000;
    try {
      const { version, keys } = await this.#keySet(this.#pins.root);
      await this.#pin({ ...this.#pins, version, keys });
    } catch (error) {
      this.#options.log(`the keys were not fetched: ${error.message}`);
    }
  }

  /** Fetches the set of keys that a root has signed; never an older one, nor another control plane's. */
  async #keySet(root) {
    const response = await this.#plane.fetch("/v1/keys", { headers: { Accept: "application/jose+json" } });
    const set = openKeySet(await response.text(), root);
    if (set.version < this.#pins?.version) throw new Error("the set of keys is older than the one that we hold");
    if (this.#pins && set.issuer !== this.#pins.issuer) throw new Error("the set of keys is of another control plane");
    return set;
  }

  async #pin(pins) {
    await this.#disk.write("pins", JSON.stringify(pins));
    this.#pins = pins;
  }

  #renew(seconds) {
    this.#lease = { until: performance.now() + seconds * 1000 };
  }

  /** Renews the lease, never for longer than the signed document says, and notes it on disk for a restart. */
  async #keep(lease) {
    const { document, etag } = this.#active;
    const seconds = Math.min(lease, document.max_stale_seconds);
    this.#renew(seconds);
    const { epoch, revision } = document;
    await this.#disk.write("lease", JSON.stringify({ epoch, revision, etag, renewed: Date.now(), seconds }));
  }

  async #revoke() {
    this.#revoked = true;
    this.#active = undefined;
    this.#lease = { until: -Infinity };
    await this.#disk.wipe();
  }

  // --- Status ------------------------------------------------------------------------------------------------------

  #report = () => {};

  /** Says what runs, at each change and every 30 seconds. The answer says which gateway we are. */
  async #keepReporting(signal) {
    while (!signal.aborted) {
      const changed = new Promise((resolve) => (this.#report = resolve));
      const { epoch = 0, revision = 0 } = this.#active?.document ?? {};
      const { instance, log } = this.#options;
      const status = { instance, version: "example", epoch, active_revision: revision, received_revision: this.#received, rejected: this.#rejected };
      try {
        const body = JSON.stringify(status);
        const response = await this.#plane.send("/v1/gateways/self/status", { method: "PUT", body, signal, seconds: 10 });
        this.identity = await response.json();
      } catch (error) {
        if (!signal.aborted) log(`the status was not reported: ${error.message}`);
      }
      const pause = new AbortController();
      await Promise.race([changed, sleep(jitter(30) * 1000, undefined, { signal: AbortSignal.any([signal, pause.signal]) }).catch(() => {})]);
      pause.abort();
    }
  }
}

/** Undoes what a proxy that compresses does to an ETag. */
const strong = (etag) => etag?.replace(/^W\//, "");

/** From half of it to all of it, so that a fleet which lost its control plane does not come back at once. */
const jitter = (seconds) => seconds * (0.5 + Math.random() / 2);
