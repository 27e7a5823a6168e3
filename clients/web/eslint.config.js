// The layers: protocol <- link, sealing <- model <- views <- main; platform implements the ports of model.
import svelte from 'eslint-plugin-svelte';
import globals from 'globals';
import ts from 'typescript-eslint';
import svelteConfig from './svelte.config.js';

/** What a layer must not import, and that it must not know the page. */
function layer(folder, forbidden, { page = false } = {}) {
    return {
        files: [`src/${folder}/**/*.{ts,svelte}`],
        rules: {
            'no-restricted-imports': [
                'error',
                {
                    patterns: [
                        { group: ['./*/../..', '../../*'], message: 'Cross layers by ~/layer/file.' },
                        ...forbidden.map((name) => ({
                            group: [`~/${name}`, `~/${name}/*`, `../${name}/*`],
                            message: `${folder} does not know ${name}.`,
                        })),
                    ],
                },
            ],
            ...(page
                ? {}
                : {
                      'no-restricted-globals': [
                          'error',
                          ...[
                              'document',
                              'window',
                              'localStorage',
                              'sessionStorage',
                              'indexedDB',
                              'navigator',
                              'location',
                          ],
                      ],
                  }),
        },
    };
}

export default ts.config(
    { ignores: ['node_modules', 'dist'] },
    ...ts.configs.strictTypeChecked,
    ...svelte.configs.recommended,
    {
        languageOptions: {
            globals: { ...globals.browser },
            parserOptions: { projectService: true, extraFileExtensions: ['.svelte'] },
        },
        rules: {
            '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
            '@typescript-eslint/no-unused-vars': ['error', { ignoreRestSiblings: true }],
            '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
        },
    },
    {
        files: ['**/*.svelte', '**/*.svelte.ts'],
        languageOptions: { parserOptions: { parser: ts.parser, svelteConfig } },
        // Plain maps and sets beside signals are meant: what a screen reads is marked.
        rules: { 'svelte/prefer-svelte-reactivity': 'off' },
    },
    {
        // To this tool a component's type is `any`; svelte-check knows it, and checks.
        files: ['**/*.svelte'],
        rules: Object.fromEntries(
            ['argument', 'assignment', 'call', 'member-access', 'return'].map((what) => [
                `@typescript-eslint/no-unsafe-${what}`,
                'off',
            ]),
        ),
    },
    { files: ['**/*.js', '**/*.mjs'], ...ts.configs.disableTypeChecked },
    { files: ['e2e/*.mjs'], languageOptions: { globals: { ...globals.node } } },
    layer('protocol', ['link', 'sealing', 'model', 'views', 'platform']),
    layer('sealing', ['link', 'model', 'views', 'platform']),
    layer('link', ['sealing', 'model', 'views', 'platform']),
    layer('model', ['views', 'platform']),
    layer('platform', ['views'], { page: true }),
    layer('views', ['link', 'sealing', 'platform'], { page: true }),
    {
        // A transform set in the wrong task is ignored in silence, and plaintext goes out: one file does it (attach.ts).
        files: ['src/**/*.{ts,svelte}', 'stage/**/*.{ts,svelte}'],
        ignores: ['src/platform/call/attach.ts'],
        rules: {
            'no-restricted-syntax': [
                'error',
                ...[
                    "AssignmentExpression[left.property.name='transform']",
                    "AssignmentExpression[left.property.value='transform']",
                    'CallExpression[callee.property.name=/^(addTrack|addStream|addTransceiver|replaceTrack|createEncodedStreams)$/]',
                    "NewExpression[callee.name='RTCRtpScriptTransform']",
                ].map((selector) => ({
                    selector,
                    message: 'Media leave by attachE2ee and sendBehind of platform/call/attach alone.',
                })),
            ],
        },
    },
);
