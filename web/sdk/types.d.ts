// What travels on the wire, as docs/protocol.md describes it. Field names are the wire's own; the classes of the SDK
// speak camelCase.

/** Every message in both directions. */
export interface Envelope<T = Record<string, unknown>> {
  type: string;
  data: T;
  timestamp?: string;
  metadata?: Metadata;
}

export interface Metadata {
  channel?: string;
  /** Rises by one per persistent message of a channel, within an epoch. */
  seq?: number;
  epoch?: string;
  /** Chosen by the sender of a request; on messages from the server, what repeats are recognised by. */
  id?: string;
  reply_to?: string;
}

export interface Position {
  epoch: string;
  seq: number;
}

export interface Established {
  user_id: string;
  session_id: string;
  name: string;
  heartbeat_ms: number;
  server_time: string;
  resume_token: string;
  /** True when the session of the last socket was taken up again, its media with it. */
  resumed: boolean;
}

export interface Subscribed<S = unknown> {
  channel: string;
  epoch: string;
  seq: number;
  /** True when every message missed since `since` follows in order. */
  recovered: boolean;
  state: S;
}

export interface WireError {
  code: string;
  message: string;
  retryable: boolean;
  retry_after_ms?: number;
  /** What exactly is in the way, when `code` alone does not say: `slow_mode`, `timeout`, `banned`, … */
  reason?: string;
}

export type Role = 'streamer' | 'moderator' | 'vip' | 'viewer';
export type Quality = 'auto' | 'high' | 'medium' | 'low';
export type Codec = 'auto' | 'vp8' | 'vp9' | 'h264' | 'av1';
export type MediaKind = 'audio' | 'video';

export interface User {
  id: string;
  name: string;
  role?: Role;
}

export interface Comment {
  id: string;
  user: User & { role: Role };
  text: string;
  highlighted: boolean;
  created_at: string;
  client_id?: string;
}

export interface Layer {
  rid: string | null;
  width: number;
  height: number;
  fps: number;
  bitrate_bps: number;
}

export interface Track {
  track: number;
  kind: MediaKind;
  codec: string;
  muted: boolean;
  /** Lowest first. */
  layers: Layer[];
}

export interface RoomSettings {
  /** 0 when slow mode is off. */
  slow_mode_seconds: number;
  pinned: Comment | null;
  by?: string;
}

/** What the caller may do on a stream. */
export interface Permissions {
  publish: boolean;
  moderate: boolean;
  chat: boolean;
}

/** `subscribed.state` of `live:<stream>`. */
export interface LiveState {
  live: boolean;
  stream_id: string | null;
  title: string;
  tags: string[];
  started_at: string | null;
  streamer: User | null;
  viewers: number;
  tracks: Track[];
  /** The caller's own. */
  role: Role;
  permissions: Permissions;
  settings: RoomSettings;
  /** The last 50, oldest first. */
  comments: Comment[];
  timed_out_until: string | null;
}

export interface StreamSummary {
  /** The stream's name, as in `live:<id>` and `/watch/<id>`. */
  id: string;
  title: string;
  tags: string[];
  started_at: string;
  viewers: number;
  tracks: Track[];
  streamer: User | null;
}

export interface StreamsUpdate {
  streams: StreamSummary[];
}

export interface StreamStarted {
  stream_id: string;
  title: string;
  tags?: string[];
  started_at: string;
  tracks: Track[];
  streamer?: User | null;
}

export interface StreamUpdated {
  stream_id: string;
  title: string;
  tags: string[];
}

export interface TracksChanged {
  stream_id: string;
  /** None while the publisher is away. */
  tracks: Track[];
}

export interface StreamEnded {
  stream_id: string;
  reason: 'ended' | 'publisher_lost' | 'never_started' | 'ended_by_api';
  duration_ms: number;
  peak_viewers: number;
}

export interface Presence {
  user?: User;
  users?: User[];
  count: number;
}

export interface CommentDeleted {
  id: string;
  by: string;
}

export interface UserModerated {
  user_id: string;
  action: 'kick' | 'ban' | 'unban' | 'timeout';
  seconds?: number | null;
  until?: string | null;
  reason?: string | null;
  by?: string;
}

export interface RoleChanged {
  user_id: string;
  role: Role;
  by?: string;
}

export interface ReactionsUpdate {
  counts: Record<string, number>;
}

export interface StreamStats {
  /** Bits a second. */
  bitrate: number;
  fps: number;
  rtt_ms: number | null;
  /** 0 to 1, before repair. */
  loss: number;
  layers: Layer[];
  viewers: number;
}

export interface SessionDescription {
  sdp: string;
  session: string;
}

export interface Candidate {
  /** `null` ends candidates. */
  candidate: string | null;
  sdp_mid: string | null;
  session: string;
}

export interface QualityChanged {
  session: string;
  layer: Layer;
  reason: 'started' | 'chosen' | 'published';
}

export interface WatchUnavailable {
  session: string;
  kind: MediaKind;
  codec: string;
}

export interface MediaClosed {
  session: string;
  reason: string;
}

/** What messages of `live:<stream>` carry, by type. */
export interface LiveMessages {
  stream_started: StreamStarted;
  stream_ended: StreamEnded;
  stream_updated: StreamUpdated;
  tracks_changed: TracksChanged;
  viewers_update: { count: number };
  user_joined: Presence;
  user_left: Presence;
  comment: Comment;
  comment_deleted: CommentDeleted;
  user_moderated: UserModerated;
  room_settings: RoomSettings;
  role_changed: RoleChanged;
  reactions_update: ReactionsUpdate;
  stream_stats: StreamStats;
  webrtc_offer: SessionDescription;
  webrtc_answer: SessionDescription;
  ice_candidate: Candidate;
  quality_changed: QualityChanged;
  watch_unavailable: WatchUnavailable;
  media_closed: MediaClosed;
}

/** Given to the callback that provides tokens. */
export interface TokenRequest {
  /** `connect`: any valid token will do. `refresh`: the present one is about to expire or was refused: a new one, please. */
  purpose: 'connect' | 'refresh';
}

export type TokenSource = string | ((request: TokenRequest) => string | Promise<string>);

/** The part of a clock that the SDK uses; tests bring their own. */
export interface Clock {
  now(): number;
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(handle: unknown): void;
}

/** The part of a WebSocket that the SDK uses. */
export interface Socket {
  readonly readyState: number;
  readonly protocol: string;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export interface ConnectionOptions {
  token: TokenSource;
  /** Where the server is; the page's own origin by default. `https:` and `wss:` are both understood. */
  url?: string;
  /** How long a request waits for its reply. */
  requestTimeoutMs?: number;
  WebSocket?: new (url: string, protocols: string[]) => Socket;
  clock?: Clock;
  /** Gives numbers from 0 up to 1; jitter is drawn from it. */
  random?: () => number;
  /**
   * Keeps chat messages that the server has not stored yet, so that a reload of the page loses none: `sessionStorage`, for
   * one. Without it they wait in memory.
   */
  store?: Store;
}

/** What of the DOM's `Storage` is used. */
export interface Store {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export type ConnectionState = 'idle' | 'connecting' | 'open' | 'waiting' | 'closed';

// Chat: the channels `chat:<room>` and `chats`.

export type RoomKind = 'direct' | 'group';
export type MemberRole = 'member' | 'admin' | 'owner';
export type UserStatus = 'online' | 'offline';

/** A file elsewhere that a message points to. */
export interface Attachment {
  url: string;
  /** Media type, such as `image/png`. */
  type: string;
  /** Bytes. */
  size: number;
  name?: string;
}

export interface Message {
  id: string;
  room: string;
  seq: number;
  sender: User;
  /** Empty in a tombstone. */
  text: string;
  client_id: string | null;
  reply_to_id: string | null;
  attachments: Attachment[];
  created_at: string;
  edited_at: string | null;
  deleted: boolean;
}

export interface Member {
  id: string;
  name: string;
  /** `member` for everybody in a direct room. */
  role: MemberRole;
  delivered_seq: number;
  read_seq: number;
  status: UserStatus;
  last_seen: string | null;
}

export interface RoomView {
  id: string;
  kind: RoomKind;
  /** Groups only. */
  title: string | null;
  members: Member[];
  created_at: string;
  updated_at: string;
}

export interface RoomListing extends RoomView {
  last_message: Message | null;
  unread: number;
}

/** `subscribed.state` of `chat:<room>`. */
export interface ChatState {
  room: RoomView;
  /** The last ones, oldest first. */
  messages: Message[];
  has_more: boolean;
  unread: number;
}

/** `subscribed.state` of `chats`. */
export interface ChatsState {
  /** The one that changed last first. */
  rooms: RoomListing[];
  has_more: boolean;
}

export interface ChatUpdate {
  room: string;
  kind: RoomKind;
  title: string | null;
  /** Only when the room is new to us, or its members changed. */
  members?: Member[];
  last_message: Message | null;
  unread: number;
  updated_at: string;
  /** We are no longer a member. */
  removed?: boolean;
}

export type RoomChange =
  | { kind: 'renamed'; title: string }
  | { kind: 'members_added'; users: string[] }
  | { kind: 'member_removed'; user: string; new_owner: string | null }
  | { kind: 'role_changed'; user: string; role: MemberRole };

export interface RoomUpdated {
  room: string;
  by: User;
  change: RoomChange;
  title: string | null;
  members: Member[];
}

export interface ChatPosition {
  room: string;
  user_id: string;
  up_to_seq: number;
  at: string;
}

export interface UserPresence {
  user_id: string;
  status: UserStatus;
  last_seen: string | null;
}

/** What messages of `chat:<room>` carry, by type. */
export interface ChatMessages {
  chat_message: Message;
  message_edited: { id: string; room: string; text: string; edited_at: string };
  message_deleted: { id: string; room: string; by: string };
  typing: { room: string; user: User; active: boolean };
  message_delivered: ChatPosition;
  message_read: ChatPosition;
  presence: UserPresence;
  room_updated: RoomUpdated;
}

/** A message as a room shows it: stored, or still on its way. */
export interface RoomMessage extends Message {
  /** `sending` and `failed` messages have `seq` 0 and their `client_id` for an id. */
  status: 'sent' | 'sending' | 'failed';
  error?: import('./errors.js').RedredError;
}

/** What a room handle knows. */
export interface RoomState {
  /** Null before the first `subscribed`. */
  room: RoomView | null;
  /** Stored ones by `seq` without a hole, then those on their way. */
  messages: RoomMessage[];
  has_older: boolean;
  /** True after a jump into the past, until the newest are reached again. */
  has_newer: boolean;
  unread: number;
  typing: User[];
  /** We are no longer a member. */
  removed: boolean;
}

// Notifications: the channel `notifications`.

export interface NotificationItem {
  /** A folded one keeps the id of its first. */
  id: string;
  seq: number;
  kind: string;
  priority: 'high' | 'medium';
  /** Of the newest event in it, as its actor and target. */
  message: string;
  actor: User | null;
  target: Record<string, unknown> | null;
  group_key: string | null;
  /** How many events are in it. */
  count: number;
  created_at: string;
  read: boolean;
}

export interface QuietHours {
  /** Minutes of the user's day, 0 to 1439. */
  from_minute: number;
  to_minute: number;
  /** Minutes east of UTC. */
  utc_offset_minutes: number;
}

export interface Preferences {
  /** Not even stored. */
  muted_kinds: string[];
  /** When nothing is pushed. */
  quiet_hours: QuietHours | null;
}
