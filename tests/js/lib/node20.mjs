// matrix-js-sdk is written for browsers and Node.js 22; on Node.js 20 it lacks only this.
Promise.withResolvers ??= function () {
    let resolve, reject;
    const promise = new this((yes, no) => ([resolve, reject] = [yes, no]));
    return { promise, resolve, reject };
};
