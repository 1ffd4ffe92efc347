// A small launcher in JavaScript: installs the app if it is not there, else updates it, and confirms the new release.
//
// usage: node launcher.js TREE SITE ROOT APP CHANNEL [cancel]
//
// ROOT is a file with the root document. With `cancel` the download is cancelled as soon as it begins, as a user might.
// Ends with the status of the call that failed, or 0.

'use strict';

const fs = require('fs');
const { load, Tree, LamplighterError, State, Kind, StartAction } = require('./lamplighter.js');

async function main() {
  const [directory, site, root, app, channel, more] = process.argv.slice(2);
  const library = load();
  console.log(`lamplighter ${library.version()} on ${library.platform()}`);
  const onEvent = (event) => {
    if (event.kind === Kind.STARTED && event.phase === 'download' && more === 'cancel') tree.cancel();
    else if (event.kind === Kind.ADVANCED && event.percent >= 0) console.log(`  ${event.phase}: ${event.percent} %`);
    else if (event.kind === Kind.NOTICE) console.log(`  ${event.code}: ${event.subject} ${event.text}`);
  };
  const tree = new Tree(library, directory, { onEvent });
  try {
    if ((await tree.status()).installed) {
      await update(tree);
    } else {
      const report = await tree.install({ site, app, channel, root: fs.readFileSync(root) });
      console.log(`installed ${report.version} (build ${report.build})`);
    }
    await run(tree);
  } finally {
    tree.close();
  }
}

async function update(tree) {
  let offer = await tree.check();
  if (offer.state === State.NOTHING) {
    console.log(`nothing to do: ${offer.reason}`);
    return;
  }
  console.log(`available ${offer.version} (build ${offer.build})`);
  // All but the last step; the app may run meanwhile.
  offer = await tree.stage();
  if (offer.state === State.NOTHING) {
    console.log(`nothing to do: ${offer.reason}`);
    return;
  }
  console.log(`staged ${offer.version} (build ${offer.build})`);
  // The last step, when the app is closed. Needs no network.
  const report = await tree.commit();
  console.log(`updated to ${report.version} (build ${report.build})`);
}

// Counts the start, starts the app, and confirms the release once it works.
async function run(tree) {
  const start = await tree.countStart();
  if (start.action === StartAction.GO_BACK) {
    await tree.rollback();
    console.log('went back');
  } else if (start.action === StartAction.PROBATION) {
    console.log(`start ${start.start} of ${start.starts_max}`);
  }
  // Here the app is started, and looked at for a while.
  await tree.confirmHealthy();
  console.log('confirmed');
}

main().catch((error) => {
  if (!(error instanceof LamplighterError)) throw error;
  console.error(`error ${error.status} ${error.code}: ${error.message}`);
  process.exitCode = error.status;
});
