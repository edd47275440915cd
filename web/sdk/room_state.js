// @ts-check
/** @file What a room looks like after each message of its channel: pure functions from one state to the next. */

/** @typedef {import('./types.d.ts').Message} Message */
/** @typedef {import('./types.d.ts').Member} Member */
/** @typedef {import('./types.d.ts').RoomMessage} RoomMessage */
/** @typedef {import('./types.d.ts').RoomState} RoomState */
/** @typedef {import('./types.d.ts').RoomView} RoomView */

/** Messages kept while new ones come; the oldest go first and can be loaded again. */
export const MESSAGES_MAX = 2000;

/** @type {RoomState} */
export const EMPTY = Object.freeze({
  room: null,
  messages: [],
  has_older: false,
  has_newer: false,
  unread: 0,
  typing: [],
  removed: false,
});

/** @param {Message} message @returns {RoomMessage} */
export function stored(message) {
  return { ...message, attachments: message.attachments ?? [], status: 'sent' };
}

/**
 * Two lists of stored messages as one, by `seq`; of two with the same id the second list's counts.
 *
 * @param {RoomMessage[]} ours
 * @param {RoomMessage[]} theirs
 */
export function merge(ours, theirs) {
  const byId = new Map([...ours, ...theirs].map((message) => [message.id, message]));
  return [...byId.values()].sort((a, b) => a.seq - b.seq);
}

/**
 * What a message of the channel changes; null when nothing.
 *
 * @param {RoomState} state
 * @param {string} type
 * @param {any} data
 * @param {string} self our own user id
 * @returns {Partial<RoomState> | null}
 */
export function reduce(state, type, data, self) {
  switch (type) {
    case 'chat_message':
      return addMessage(state, data, self);
    case 'message_edited':
      return changeMessage(state, data.id, { text: data.text, edited_at: data.edited_at });
    case 'message_deleted':
      return deleteMessage(state, data.id, self);
    case 'typing':
      if (data.user.id === self) return null;
      return { typing: withTyping(state.typing, data.user, data.active) };
    case 'message_delivered':
      return changeMember(state, data.user_id, (member) => ({
        delivered_seq: Math.max(member.delivered_seq, data.up_to_seq),
      }));
    case 'message_read':
      return {
        ...changeMember(state, data.user_id, (member) => ({
          delivered_seq: Math.max(member.delivered_seq, data.up_to_seq),
          read_seq: Math.max(member.read_seq, data.up_to_seq),
        })),
        ...(data.user_id === self && { unread: countUnread(state.messages, data.up_to_seq, self) }),
      };
    case 'presence':
      return {
        ...changeMember(state, data.user_id, () => ({ status: data.status, last_seen: data.last_seen })),
        // Who is gone types no more.
        ...(data.status === 'offline' && { typing: state.typing.filter(({ id }) => id !== data.user_id) }),
      };
    case 'room_updated':
      return {
        room: state.room && { ...state.room, title: data.title, members: data.members },
        removed: !data.members.some((/** @type {Member} */ { id }) => id === self),
      };
    default:
      return null;
  }
}

/**
 * @param {RoomState} state
 * @param {Message} message
 * @param {string} self
 */
function addMessage(state, message, self) {
  const known = state.messages.some(({ id }) => id === message.id);
  const readSeq = memberOf(state, self)?.read_seq ?? 0;
  const counts = !known && message.sender.id !== self && message.seq > readSeq && !message.deleted;
  const position = changeMember(state, message.sender.id, (member) => ({
    delivered_seq: Math.max(member.delivered_seq, message.seq),
    read_seq: Math.max(member.read_seq, message.seq),
  }));
  return {
    ...position,
    ...(!state.has_newer && withMessages(state, merge(state.messages, [stored(message)]))),
    unread: message.sender.id === self ? 0 : state.unread + (counts ? 1 : 0),
    typing: withTyping(state.typing, message.sender, false),
  };
}

/**
 * @param {RoomState} state
 * @param {RoomMessage[]} messages
 */
function withMessages(state, messages) {
  const kept = messages.slice(-MESSAGES_MAX);
  return { messages: kept, has_older: state.has_older || kept.length < messages.length };
}

/**
 * @param {RoomState} state
 * @param {string} id
 * @param {Partial<RoomMessage>} change
 */
function changeMessage(state, id, change) {
  if (!state.messages.some((message) => message.id === id)) return null;
  return { messages: state.messages.map((message) => (message.id === id ? { ...message, ...change } : message)) };
}

/**
 * @param {RoomState} state
 * @param {string} id
 * @param {string} self
 */
function deleteMessage(state, id, self) {
  const message = state.messages.find((each) => each.id === id);
  if (!message || message.deleted) return null;
  const wasUnread = message.sender.id !== self && message.seq > (memberOf(state, self)?.read_seq ?? 0);
  return {
    ...changeMessage(state, id, { text: '', attachments: [], deleted: true }),
    ...(wasUnread && { unread: Math.max(0, state.unread - 1) }),
  };
}

/**
 * @param {RoomState} state
 * @param {string} id
 * @param {(member: Member) => Partial<Member>} change
 * @returns {Partial<RoomState> | null}
 */
function changeMember({ room }, id, change) {
  if (!room?.members.some((member) => member.id === id)) return null;
  const members = room.members.map((member) => (member.id === id ? { ...member, ...change(member) } : member));
  return { room: { ...room, members } };
}

/**
 * @param {RoomMessage[]} messages
 * @param {number} readSeq
 * @param {string} self
 */
function countUnread(messages, readSeq, self) {
  return messages.filter(({ seq, sender, deleted }) => seq > readSeq && sender.id !== self && !deleted).length;
}

/**
 * @param {import('./types.d.ts').User[]} typing
 * @param {import('./types.d.ts').User} user
 * @param {boolean} active
 */
export function withTyping(typing, user, active) {
  const others = typing.filter(({ id }) => id !== user.id);
  return active ? [...others, user] : others.length === typing.length ? typing : others;
}

/**
 * @param {RoomState} state
 * @param {string} id
 */
export function memberOf({ room }, id) {
  return room?.members.find((member) => member.id === id);
}

/**
 * How far a message of our own has come: it is `delivered` or `read` when that is so for every other member.
 *
 * @param {{ members: Member[] } | null} room
 * @param {{ seq: number, status?: RoomMessage['status'], sender: { id: string } }} message
 * @returns {'sending' | 'failed' | 'sent' | 'delivered' | 'read'}
 */
export function tickOf(room, message) {
  if (message.status === 'sending' || message.status === 'failed') return message.status;
  const others = room?.members.filter(({ id }) => id !== message.sender.id) ?? [];
  if (others.length === 0) return 'sent';
  if (others.every(({ read_seq }) => read_seq >= message.seq)) return 'read';
  return others.every(({ delivered_seq }) => delivered_seq >= message.seq) ? 'delivered' : 'sent';
}
