// fetch, Headers and Response, in the shape of the Fetch standard. See docs/PROGRAMS.md for what there is of it.
//
// The host call underneath is synchronous: a promise that fetch returns is settled before the next statement runs.
((host, global) => {
  "use strict";
  const { adyton } = global;
  const U8 = Uint8Array, Text = String, Buffer = ArrayBuffer, View = ArrayBuffer.isView, MapOf = Map, ArrayOf = Array;
  const parseJson = JSON.parse, iterator = Symbol.iterator, encodePart = encodeURIComponent;
  const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, VALUE = /^[\t\x20-\x7e]*$/;
  const NOT_IN_A_URL = /[^!-~]|["<>\\^`{|}]/gu, MODES = ["follow", "error", "manual"];

  const publish = (name, value) => Object.defineProperty(global, name, { value, writable: true, configurable: true });

  class Headers {
    #values = new MapOf();
    constructor(init = undefined) {
      if (init === undefined || init === null) return;
      const pairs = typeof init[iterator] === "function" ? init : Object.entries(init);
      for (const [name, value] of pairs) this.append(name, value);
    }
    append(name, value) {
      const key = keyOf(name), text = Text(value).trim();
      if (!VALUE.test(text)) throw new TypeError(`the header ${key} is not printable ASCII`);
      this.#values.set(key, [...(this.#values.get(key) ?? []), text]);
    }
    set(name, value) { this.delete(name); this.append(name, value); }
    delete(name) { this.#values.delete(keyOf(name)); }
    get(name) { return this.#values.get(keyOf(name))?.join(", ") ?? null; }
    has(name) { return this.#values.has(keyOf(name)); }
    getSetCookie() { return [...(this.#values.get("set-cookie") ?? [])]; }
    *entries() { for (const key of [...this.#values.keys()].sort()) yield [key, this.get(key)]; }
    *keys() { for (const [key] of this.entries()) yield key; }
    *values() { for (const [, value] of this.entries()) yield value; }
    forEach(callback, self = undefined) { for (const [key, value] of this.entries()) callback.call(self, value, key, this); }
    [iterator]() { return this.entries(); }
  }
  const keyOf = (name) => {
    const key = Text(name).toLowerCase();
    if (!NAME.test(key)) throw new TypeError(`${JSON.stringify(key)} is no name of a header`);
    return key;
  };

  const bytesOf = (body) => {
    if (body === undefined || body === null) return new U8(0);
    if (typeof body === "string") return host.encode(body);
    if (body instanceof U8) return body;
    if (body instanceof Buffer) return new U8(body);
    if (View(body)) return new U8(body.buffer, body.byteOffset, body.byteLength);
    throw new TypeError("a body is a string, an ArrayBuffer or a view of one");
  };

  class Response {
    #body;
    #used = false;
    constructor(body = undefined, init = undefined) {
      this.#body = bytesOf(body);
      this.status = init?.status ?? 200;
      this.statusText = init?.statusText ?? "";
      this.headers = init?.headers instanceof Headers ? init.headers : new Headers(init?.headers);
      this.url = init?.url ?? "";
      this.redirected = init?.redirected ?? false;
      this.type = "basic";
    }
    get ok() { return this.status >= 200 && this.status < 300; }
    get bodyUsed() { return this.#used; }
    clone() {
      if (this.#used) throw new TypeError("the body was read already");
      return new Response(this.#body, this);
    }
    async bytes() {
      if (this.#used) throw new TypeError("the body was read already");
      this.#used = true;
      return this.#body.slice();
    }
    async arrayBuffer() { return (await this.bytes()).buffer; }
    async text() { return new TextDecoder().decode(await this.bytes()); }
    async json() { return parseJson(await this.text()); }
  }

  const headOf = (resource, options) => {
    const url = Text(resource?.url ?? resource).replace(NOT_IN_A_URL, encodePart);
    const redirect = options?.redirect ?? "follow", method = Text(options?.method ?? "GET").toUpperCase();
    if (!MODES.includes(redirect)) throw new TypeError("redirect is follow, error or manual");
    const headers = new Headers(options?.headers);
    if (typeof options?.body === "string" && !headers.has("content-type")) headers.set("content-type", "text/plain;charset=UTF-8");
    return [`${method} ${url} ${redirect}`, ...ArrayOf.from(headers, ([name, value]) => `${name}: ${value}`)].join("\n");
  };
  const received = (head) => {
    const [first, reason, ...lines] = head.split("\n"), [status, redirected, size, url] = first.split(" ");
    if (status === "0") throw new TypeError(`fetch failed: ${[reason, ...lines].join(" ")}`);
    const headers = new Headers();
    for (const line of lines) {
      const at = line.indexOf(":");
      headers.append(line.slice(0, at), line.slice(at + 2).replace(/[^\t\x20-\x7e]/g, "?"));
    }
    return { size: +size, status: +status, statusText: reason, headers, url, redirected: redirected === "1" };
  };

  publish("Headers", Headers);
  publish("Response", Response);
  publish("fetch", async function fetch(resource, options = undefined) {
    adyton.request; // throws outside main: the top level runs once for all requests
    const answer = received(host.fetch(headOf(resource, options), bytesOf(options?.body)));
    const body = new U8(answer.size);
    host.take(body);
    return new Response(body, answer);
  });
})
