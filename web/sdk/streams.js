// @ts-check
/** @file Who is live, kept up to date by the channel `streams`. */

import { Emitter } from './events.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./types.d.ts').StreamSummary} StreamSummary */

const CHANNEL = 'streams';

/**
 * @typedef {object} DirectoryEvents
 * @property {StreamSummary[]} update every stream that is live now
 * @property {import('./errors.js').RedredError} refused
 */

/** @extends {Emitter<DirectoryEvents>} */
export class StreamDirectory extends Emitter {
  #connection;
  /** @type {StreamSummary[]} */
  #streams = [];

  /** @param {Connection} connection */
  constructor(connection) {
    super();
    this.#connection = connection;
  }

  get streams() {
    return this.#streams;
  }

  subscribe() {
    const subscription = this.#connection.subscribe(CHANNEL);
    subscription.on('subscribed', ({ state }) => this.#update(state?.streams ?? []));
    subscription.on('message', ({ type, data }) => {
      if (type === 'streams_update') this.#update(data.streams ?? []);
    });
    subscription.on('refused', (error) => this.emit('refused', error));
  }

  leave() {
    this.#connection.unsubscribe(CHANNEL);
  }

  /** @param {StreamSummary[]} streams */
  #update(streams) {
    this.#streams = streams;
    this.emit('update', streams);
  }
}
