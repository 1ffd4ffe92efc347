// Lamplighter for Node and Electron, by koffi: copy this file into a launcher, beside the library.
//
// A Tree is one installed directory. Its methods return promises: the work is done on another thread, and events come to the
// main thread meanwhile. One method at a time; cancel() may be called at any time. Errors are thrown as LamplighterError,
// with status, code and the message.

'use strict';

const koffi = require('koffi');

const ABI = 1;
const State = { NOTHING: 0, AVAILABLE: 1, READY: 2, DONE: 3 };
const Kind = { STARTED: 1, ADVANCED: 2, NOTICE: 3, MESSAGE: 4, QUESTION: 5, BUILD: 6 };
const StartAction = { PLAIN: 0, PROBATION: 1, GO_BACK: 2 };

const text = (length) => koffi.array('char', length, 'String');
const LibraryError = koffi.struct('LamplighterError', {
  size: 'uint32', status: 'int32', may_retry: 'uint32', reserved: 'uint32', code: text(48), message: text(1024),
});
const Origin = koffi.struct('LamplighterOrigin', {
  size: 'uint32', reserved: 'uint32', site: 'str', app: 'str', channel: 'str', platform: 'str', root: 'uint8 *',
  root_length: 'size_t',
});
const Offer = koffi.struct('LamplighterOffer', {
  size: 'uint32', state: 'uint32', build: 'uint64', from_build: 'uint64', version: text(264), reason: text(32),
  text: text(256),
});
const Report = koffi.struct('LamplighterReport', {
  size: 'uint32', state: 'uint32', build: 'uint64', files_written: 'uint64', files_removed: 'uint64',
  written_bytes: 'uint64', received_bytes: 'uint64', requests: 'uint64', kept_aside: 'uint64', left_edited: 'uint64',
  version: text(264), route: text(16), reason: text(32), text: text(256),
});
const Status = koffi.struct('LamplighterTree', {
  size: 'uint32', installed: 'uint32', build: 'uint64', prepared_build: 'uint64', previous_build: 'uint64',
  unfinished: 'uint32', reserved: 'uint32', version: text(264),
});
const Start = koffi.struct('LamplighterStart', {
  size: 'uint32', action: 'uint32', start: 'uint64', starts_max: 'uint64',
});
const Event = koffi.struct('LamplighterEvent', {
  size: 'uint32', kind: 'uint32', done_bytes: 'uint64', total_bytes: 'uint64', phase: 'str', code: 'str',
  subject: 'str', text: 'str', version: 'str', installed_version: 'str', build: 'uint64', percent: 'int32',
  needs_restart: 'uint32', notes: 'str',
});
const Callback = koffi.proto('int32 LamplighterCallback(const LamplighterEvent *event, void *user)');

class LamplighterError extends Error {
  constructor(error) {
    super(error.message);
    this.status = error.status;
    this.code = error.code;
    this.mayRetry = error.may_retry !== 0;
  }
}

// Loads the library: from `path`, from LAMPLIGHTER_LIBRARY, or by its name.
function load(path) {
  const names = { win32: 'lamplighter.dll', darwin: 'liblamplighter.dylib' };
  const name = names[process.platform] || 'liblamplighter.so';
  const library = koffi.load(path || process.env.LAMPLIGHTER_LIBRARY || name);
  const error = '_Inout_ LamplighterError *error';
  const events = 'LamplighterCallback *callback, void *user';
  const call = (name, parameters) => library.func(`int32 lamplighter_${name}(${parameters}, ${error})`);
  const functions = {
    open: call('open', 'str tree, str state, str proxy, _Out_ uint64 *handle'),
    install: call('install', `uint64 handle, LamplighterOrigin *origin, ${events}, _Inout_ LamplighterReport *report, void *json`),
    check: call('check', `uint64 handle, ${events}, _Inout_ LamplighterOffer *offer, void *json`),
    stage: call('stage', `uint64 handle, str from, ${events}, _Inout_ LamplighterOffer *offer, void *json`),
    commit: call('commit', `uint64 handle, ${events}, _Inout_ LamplighterReport *report, void *json`),
    rollback: call('rollback', `uint64 handle, ${events}, _Inout_ LamplighterReport *report, void *json`),
    confirm_healthy: call('confirm_healthy', 'uint64 handle'),
    count_start: call('count_start', 'uint64 handle, _Inout_ LamplighterStart *start'),
    status: call('status', 'uint64 handle, _Inout_ LamplighterTree *tree, void *json'),
    close: library.func('void lamplighter_close(uint64 handle)'),
    allowNetworkShare: library.func('int32 lamplighter_allow_network_share(uint64 handle, uint32 allowed)'),
    cancel: library.func('int32 lamplighter_cancel(uint64 handle)'),
    clearCancel: library.func('int32 lamplighter_clear_cancel(uint64 handle)'),
    version: library.func('str lamplighter_version()'),
    platform: library.func('str lamplighter_platform()'),
  };
  if (library.func('uint32 lamplighter_abi_version()')() < ABI) throw new Error('the library is older than this file');
  return functions;
}

class Tree {
  constructor(library, tree, { onEvent, state = null, proxy = null } = {}) {
    this.library = library;
    this.thrown = null;
    const deliver = (pointer) => {
      try {
        return (onEvent && onEvent(koffi.decode(pointer, Event))) || 0;
      } catch (error) {
        // Nothing may be thrown through the library: stop the call, throw after it.
        this.thrown = error;
        this.cancel();
        return 0;
      }
    };
    this.callback = koffi.register(deliver, koffi.pointer(Callback));
    const handle = [0];
    const error = blank(LibraryError);
    if (library.open(tree, state, proxy, handle, error) !== 0) throw new LamplighterError(error);
    this.handle = handle[0];
  }

  close() {
    this.library.close(this.handle);
    koffi.unregister(this.callback);
  }

  cancel() {
    this.library.cancel(this.handle);
  }

  // Calls from the next one on may install, stage and heal on a network share.
  allowNetworkShare(allowed = true) {
    this.library.allowNetworkShare(this.handle, allowed ? 1 : 0);
  }

  clearCancel() {
    this.library.clearCancel(this.handle);
  }

  // Makes a call on a thread of its own, so that events can come to this one.
  call(name, ...parameters) {
    const error = blank(LibraryError);
    return new Promise((resolve, reject) => {
      this.library[name].async(this.handle, ...parameters, error, (failure, status) => {
        if (this.thrown) {
          const thrown = this.thrown;
          this.thrown = null;
          this.clearCancel();
          reject(thrown);
        } else if (failure) reject(failure);
        else if (status !== 0) reject(new LamplighterError(error));
        else resolve();
      });
    });
  }

  async tell(name, type, ...parameters) {
    const record = blank(type);
    await this.call(name, ...parameters, record, null);
    return record;
  }

  status() {
    return this.tell('status', Status);
  }

  install({ site, app, channel, root, platform = null }) {
    const origin = { size: koffi.sizeof(Origin), reserved: 0, site, app, channel, platform, root, root_length: root.length };
    return this.tell('install', Report, origin, this.callback, null);
  }

  check() {
    return this.tell('check', Offer, this.callback, null);
  }

  stage(from = null) {
    return this.tell('stage', Offer, from, this.callback, null);
  }

  commit() {
    return this.tell('commit', Report, this.callback, null);
  }

  rollback() {
    return this.tell('rollback', Report, this.callback, null);
  }

  async countStart() {
    const start = blank(Start);
    await this.call('count_start', start);
    return start;
  }

  confirmHealthy() {
    return this.call('confirm_healthy');
  }
}

// A struct with its size set and all else zero.
function blank(type) {
  return { ...koffi.decode(Buffer.alloc(koffi.sizeof(type)), type), size: koffi.sizeof(type) };
}

module.exports = { load, Tree, LamplighterError, State, Kind, StartAction };
